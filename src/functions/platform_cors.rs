//! The platform's own CORS list: on some plans the host answers every preflight by it, before the gateway sees the
//! request (contract 9.11).

use crate::origin::Origin;

/// Values of `WEBSITE_SKU` where that is so: Flex Consumption and Linux Consumption.
const PLANS: [&str; 2] = ["FlexConsumption", "Dynamic"];

/// The allowed origins that the platform's list (a JSON array) lacks, on a plan where it decides. A list that cannot be
/// read has none of them.
#[must_use]
pub fn missing_origins(plan: Option<&str>, list: Option<&str>, allowed: &[Origin]) -> Vec<Origin> {
    if !plan.is_some_and(|plan| PLANS.iter().any(|of| of.eq_ignore_ascii_case(plan))) {
        return Vec::new();
    }
    let listed: Vec<String> = list.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default();
    let listed: Vec<Origin> = listed.iter().filter_map(|origin| Origin::parse(origin).ok()).collect();
    allowed.iter().filter(|origin| !listed.contains(origin)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_list_must_have_every_allowed_origin_where_it_decides() {
        let allowed = ["https://a.example", "https://b.example:8443"].map(|origin| Origin::parse(origin).unwrap());
        let missing = |plan, list| -> Vec<String> {
            missing_origins(plan, list, &allowed).iter().map(|origin| origin.as_str().to_owned()).collect()
        };
        let all = r#"["https://portal.azure.com","https://A.example","https://b.example:8443"]"#;
        for plan in ["FlexConsumption", "Dynamic"] {
            assert_eq!(missing(Some(plan), Some(all)), [""; 0]);
            assert_eq!(missing(Some(plan), Some(r#"["https://a.example"]"#)), ["https://b.example:8443"]);
            for none in [None, Some("[]"), Some("https://a.example"), Some(r#"["*"]"#)] {
                assert_eq!(missing(Some(plan), none), ["https://a.example", "https://b.example:8443"], "{none:?}");
            }
        }
        for plan in [None, Some("ElasticPremium"), Some("Basic")] {
            assert_eq!(missing(plan, None), [""; 0], "the gateway itself answers preflights");
        }
        assert!(missing_origins(Some("Dynamic"), None, &[]).is_empty(), "no CORS");
    }
}
