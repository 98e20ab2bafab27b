//! Client certificates: whose they are.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Unauthenticated;
use super::policy::Principal;

/// Whom a client's certificate names. TLS has checked that it is good, and that the client has its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The first URI among its names, as SPIFFE has it; else its first DNS name, else its common name.
    name: Option<String>,
    organizations: Vec<String>,
    /// Its last second, since 1970. A connection may outlive it.
    not_after: i64,
}

/// How principals are made of certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Naming {
    /// Stands before the name and the groups, so that no other kind of credentials can name the same.
    pub(super) prefix: String,
}

impl Certificate {
    /// Reads the names of a certificate that TLS has accepted.
    pub fn read(der: &CertificateDer<'_>) -> Self {
        X509Certificate::from_der(der).map(|(_, certificate)| Self::of(&certificate)).unwrap_or_default()
    }

    fn of(certificate: &X509Certificate<'_>) -> Self {
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let names = alternative.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let uri = names.iter().find_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
        let dns = names.iter().find_map(|name| if let GeneralName::DNSName(dns) = name { Some(*dns) } else { None });
        let common = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let organizations = certificate.subject().iter_organization().filter_map(|name| name.as_str().ok());
        Self {
            name: uri.or(dns).or(common).filter(|name| !name.is_empty()).map(str::to_owned),
            organizations: organizations.map(str::to_owned).collect(),
            not_after: certificate.validity().not_after.timestamp(),
        }
    }
}

fn now() -> i64 {
    i64::try_from(lockstead_clock::wall_time().as_micros() / 1_000_000).unwrap_or(i64::MAX)
}

impl Naming {
    pub(super) fn principal(&self, certificate: &Certificate) -> Result<Principal, Unauthenticated> {
        let nameless = Unauthenticated::BadCredentials("the client certificate has no name that can be used");
        let name = certificate.name.as_ref().ok_or(nameless)?;
        if certificate.not_after < now() {
            return Err(Unauthenticated::BadCredentials("the client certificate has expired"));
        }
        let groups = certificate.organizations.iter().map(|group| format!("{}{group}", self.prefix)).collect();
        Ok(Principal { name: format!("{}{name}", self.prefix), groups })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(names: Vec<SanType>, common_name: Option<&str>) -> Certificate {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
            params.distinguished_name.push(DnType::OrganizationName, "builders");
        }
        let key = KeyPair::generate().unwrap();
        Certificate::read(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn the_best_name_counts() {
        let dns = || SanType::DnsName("till.example".try_into().unwrap());
        let uri = || SanType::URI("spiffe://example/till".try_into().unwrap());
        let naming = Naming { prefix: "cert:".to_owned() };
        for (names, common_name, told) in [
            (vec![dns(), uri()], Some("till"), Some("cert:spiffe://example/till")),
            (vec![dns()], Some("till"), Some("cert:till.example")),
            (vec![], Some("till"), Some("cert:till")),
            (vec![], None, None),
        ] {
            let principal = naming.principal(&certificate(names, common_name));
            assert_eq!(principal.as_ref().ok().map(|principal| principal.name.as_str()), told);
            let groups = principal.map(|principal| principal.groups).unwrap_or_default();
            assert_eq!(groups.len(), usize::from(common_name.is_some()));
        }
        assert_eq!(Certificate::read(&CertificateDer::from(vec![1, 2, 3])), Certificate::default());
    }
}
