//! The gateway's identity at Azure (contract 6.5): the first kind whose variables are set.

use std::path::PathBuf;

use super::{ConfigParser, Parsed};
use crate::config::settings::VM_IDENTITY;
use crate::credential::{Identity, TokenFile, Workload};
use crate::origin::Origin;

/// Names the variable that begins each kind of identity.
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
const ENDPOINT: &str = "IDENTITY_ENDPOINT";
const ENDPOINT_SECRET: &str = "IDENTITY_HEADER";
const CLIENT_ID: &str = "AZURE_CLIENT_ID";
const TENANT_ID: &str = "AZURE_TENANT_ID";
const AUTHORITY_HOST: &str = "AZURE_AUTHORITY_HOST";
/// Entra in the public cloud.
const PUBLIC: &str = "https://login.microsoftonline.com";

impl ConfigParser<'_> {
    pub(super) fn identity(&mut self) -> Parsed<Identity> {
        let of_vm = self.choice(&VM_IDENTITY, &[("off", false), ("on", true)]);
        let client_id = self.vars.get(CLIENT_ID).map(str::to_owned);
        if let Some(file) = self.vars.get(TOKEN_FILE) {
            return Ok(Identity::Workload(self.workload(file)?));
        }
        if self.vars.get(ENDPOINT).is_some() {
            if self.vars.get(ENDPOINT_SECRET).is_none() {
                // The SDK would request another endpoint without telling.
                let problem = format!(
                    "is required with {ENDPOINT}; where the platform sets only that (Azure Arc), its identity is not \
                     supported"
                );
                return Err(self.record_variable(ENDPOINT_SECRET, problem));
            }
            return Ok(Identity::Managed(client_id));
        }
        Ok(if of_vm? { Identity::VirtualMachine(client_id) } else { Identity::Developer })
    }

    /// Whether the variables name an identity other than the developer's, valid or not.
    pub(super) fn names_identity(&self) -> bool {
        let of_platform = [TOKEN_FILE, ENDPOINT].iter().any(|name| self.vars.get(name).is_some());
        of_platform || self.set_value(&VM_IDENTITY).is_some_and(|value| value != "off")
    }

    fn workload(&mut self, file: &str) -> Parsed<Workload> {
        let (tenant, client_id) = (self.of_workload(TENANT_ID), self.of_workload(CLIENT_ID));
        let is_tenant =
            |tenant: &String| tenant.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        let tenant = tenant.and_then(|tenant| {
            let problem = "must be a tenant id, a GUID";
            Some(tenant).filter(is_tenant).ok_or_else(|| self.record_variable(TENANT_ID, problem))
        });
        let authority = Origin::parse(self.vars.get(AUTHORITY_HOST).unwrap_or(PUBLIC)).ok();
        let authority = authority.filter(|authority| authority.url().scheme() == "https");
        let authority = authority.ok_or_else(|| {
            let problem = format!("must be Entra's https URL without a path, such as {PUBLIC}");
            self.record_variable(AUTHORITY_HOST, problem)
        });
        Ok(Workload {
            tenant: tenant?,
            client_id: client_id?,
            authority: authority?.url().clone(),
            token: TokenFile(PathBuf::from(file)),
        })
    }

    fn of_workload(&mut self, name: &str) -> Parsed<String> {
        let value = self.vars.get(name).map(str::to_owned);
        value.ok_or_else(|| {
            let problem = format!(
                "is required with {TOKEN_FILE}; Kubernetes sets both from the annotations of the service account, \
                 azure.workload.identity/tenant-id and azure.workload.identity/client-id"
            );
            self.record_variable(name, problem)
        })
    }
}
