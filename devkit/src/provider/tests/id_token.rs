use super::super::{Flaw, Mutation};
use super::*;

async fn id_token(provider: &Provider) -> String {
    text_of(&granted(provider, &code_form(&fresh_code(provider))).await, "id_token")
}

#[tokio::test]
async fn a_token_has_entras_claims_and_a_published_key() {
    let provider = provider().await;
    let token = id_token(&provider).await;
    assert!(verifies(&provider, &token).await);
    assert_eq!(part(&token, 0)["alg"], "RS256");
    let claims = part(&token, 1);
    for (name, value) in [
        ("iss", provider.issuer()),
        ("aud", CLIENT_ID.to_owned()),
        ("nonce", "the-nonce".to_owned()),
        ("sub", "ada-lovelace-subject-1".to_owned()),
        ("tid", TENANT.to_owned()),
        ("name", "Ada Lovelace".to_owned()),
        ("preferred_username", ADA.to_owned()),
        ("email", ADA.to_owned()),
        ("ver", "2.0".to_owned()),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert_eq!(claims["roles"], serde_json::json!(["Orders.Admin"]));
    assert!(claims["sid"].is_string() && claims["oid"].is_string());
    let now = provider.now();
    assert!(claims["iat"].as_u64().unwrap() <= now && claims["exp"].as_u64().unwrap() > now);
    assert_eq!(claims.get("at_hash"), None);
}

#[tokio::test]
async fn each_flaw_is_what_its_name_says() {
    let provider = provider().await;
    let good = part(&id_token(&provider).await, 1);
    for flaw in Flaw::ALL {
        provider.set_mutation(Some(flaw.into()));
        let token = id_token(&provider).await;
        let (header, claims, now) = (part(&token, 0), part(&token, 1), provider.now());
        let time = |name: &str| claims[name].as_u64().unwrap();
        let signed = verifies(&provider, &token).await;
        let spoiled = match flaw {
            Flaw::WrongAudience => claims["aud"] != good["aud"],
            Flaw::WrongAuthorizedParty => claims["azp"] != good["aud"] && claims["aud"][0] == good["aud"],
            Flaw::WrongIssuer => claims["iss"] != good["iss"],
            Flaw::WrongTenant => claims["tid"] != good["tid"],
            Flaw::WrongNonce => claims["nonce"].is_string() && claims["nonce"] != good["nonce"],
            Flaw::NoNonce => claims.get("nonce").is_none(),
            Flaw::Expired => time("exp") + 3_000 < now,
            Flaw::NotYetValid => time("nbf") > now + 3_000,
            Flaw::IssuedInFuture => time("iat") > now + 3_000,
            Flaw::WrongAccessTokenHash => claims["at_hash"].is_string(),
            Flaw::AlgNone => header["alg"] == "none" && token.ends_with('.'),
            Flaw::Hs256 => header["alg"] == "HS256" && hmac_holds(&token),
            Flaw::BadSignature | Flaw::ForgedKid => header["alg"] == "RS256" && !signed,
            Flaw::UnknownKid => header["kid"] == "unpublished" && !signed,
        };
        assert!(spoiled, "{flaw:?}: {header} {claims}");
        let by_signature =
            matches!(flaw, Flaw::AlgNone | Flaw::Hs256 | Flaw::BadSignature | Flaw::ForgedKid | Flaw::UnknownKid);
        assert_eq!(signed, !by_signature, "{flaw:?}");
    }
    provider.set_mutation(None);
    assert!(verifies(&provider, &id_token(&provider).await).await);
}

fn hmac_holds(token: &str) -> bool {
    use ring::hmac;
    let (message, tag) = token.rsplit_once('.').unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, CLIENT_SECRET.as_bytes());
    hmac::verify(&key, message.as_bytes(), &from_base64url(tag).unwrap()).is_ok()
}

#[tokio::test]
async fn a_mutation_can_be_any_change() {
    let provider = provider().await;
    provider.set_mutation(Some(Mutation::new(|draft| draft.claims["sub"] = "mallory".into())));
    assert_eq!(part(&id_token(&provider).await, 1)["sub"], "mallory");
}

#[tokio::test]
async fn a_rotated_key_is_published_with_the_rotation() {
    let provider = provider().await;
    let before = id_token(&provider).await;
    provider.rotate_keys();
    let after = id_token(&provider).await;
    assert_ne!(part(&before, 0)["kid"], part(&after, 0)["kid"]);
    assert!(verifies(&provider, &before).await);
    assert!(verifies(&provider, &after).await);
    let keys = json(&format!("http://{}/{TENANT}/discovery/v2.0/keys", provider.addr())).await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn tokens_follow_the_clock() {
    let provider = provider().await;
    let before = part(&id_token(&provider).await, 1)["iat"].as_u64().unwrap();
    provider.advance(std::time::Duration::from_secs(1_000));
    let after = part(&id_token(&provider).await, 1)["iat"].as_u64().unwrap();
    assert!((1_000..1_010).contains(&(after - before)));
}
