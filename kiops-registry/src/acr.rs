//! Alibaba Cloud Container Registry: its regions' and instances' addresses. What is there is a registry like others: [`Oci`](crate::oci::Oci).
//!
//! ```
//! use kiops_registry::acr::{Network, instance, region};
//!
//! let personal = region("cn-hangzhou", Network::Public)?;
//! assert_eq!(personal.host, "registry.cn-hangzhou.aliyuncs.com");
//! let enterprise = instance("shop", "cn-hangzhou", Network::Vpc)?;
//! assert_eq!(enterprise.host, "shop-registry-vpc.cn-hangzhou.cr.aliyuncs.com");
//! # Ok::<(), kiops_core::Error>(())
//! ```

use kiops_core::http::HostRule;
use kiops_core::name::DnsLabel;
use kiops_core::{Error, Result};

use crate::oci::OciConfig;

/// From where a registry is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// From anywhere.
    Public,
    /// From within a VPC of its region. Its addresses are not public ones.
    Vpc,
}

/// The registry of a region, as Personal Edition has it: `registry.REGION.aliyuncs.com`, or `registry-vpc.REGION.aliyuncs.com`.
///
/// # Errors
/// `Invalid` for what is no region's name.
pub fn region(region: &str, network: Network) -> Result<OciConfig> {
    let suffix = network.suffix();
    config(format!("registry{suffix}.{}.aliyuncs.com", label(region)?), region, network)
}

/// An instance of Enterprise Edition by its name: `INSTANCE-registry.REGION.cr.aliyuncs.com`, or `INSTANCE-registry-vpc....`.
///
/// # Errors
/// `Invalid` for what is no name of an instance or region.
pub fn instance(instance: &str, region: &str, network: Network) -> Result<OciConfig> {
    let suffix = network.suffix();
    config(
        format!("{}-registry{suffix}.{}.cr.aliyuncs.com", label(instance)?, label(region)?),
        region,
        network,
    )
}

/// The registry of this host, as images are named by it: one of those above, or `INSTANCE.REGION.personal.cr.aliyuncs.com` of newer personal
/// ones (`INSTANCE-vpc.REGION....` within a VPC). `None`: the host is none of Alibaba Cloud's.
pub fn of_host(host: &str) -> Option<OciConfig> {
    let name = host.to_ascii_lowercase();
    let labels: Vec<&str> = name.strip_suffix(".aliyuncs.com")?.split('.').collect();
    let (first, region) = match labels[..] {
        [first @ ("registry" | "registry-vpc"), region] => (first, region),
        [first, region, "cr"] if first.strip_suffix("-vpc").unwrap_or(first).ends_with("-registry") => {
            (first, region)
        }
        [first, region, "personal", "cr"] => (first, region),
        _ => return None,
    };
    DnsLabel::parse(first).ok()?;
    let network = if first.ends_with("-vpc") { Network::Vpc } else { Network::Public };
    config(host.to_owned(), region, network).ok()
}

impl Network {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Public => "",
            Self::Vpc => "-vpc",
        }
    }
}

/// The settings with the token servers of the region, and the store that blobs are redirected to.
fn config(host: String, region: &str, network: Network) -> Result<OciConfig> {
    let region = label(region)?;
    let suffix = network.suffix();
    let mut config = OciConfig::new(host);
    // In one region the public one has another form.
    let hyphen = (network == Network::Public && region == "cn-zhangjiakou")
        .then(|| format!("https://dockerauth-{region}.aliyuncs.com/"));
    let tokens = [
        Some(format!("https://dockerauth{suffix}.{region}.aliyuncs.com/")),
        Some(format!("https://dockerauth-ee{suffix}.{region}.aliyuncs.com/")),
        hyphen,
    ];
    let store = match network {
        Network::Public => format!("https://*.oss-{region}.aliyuncs.com/"),
        Network::Vpc => format!("https://*.oss-{region}-internal.aliyuncs.com/"),
    };
    let rule = |place: &str| {
        let rule = HostRule::parse(place)?;
        Ok::<_, Error>(if network == Network::Vpc { rule.private() } else { rule })
    };
    config.private = network == Network::Vpc;
    config.realms = tokens.iter().flatten().map(|place| rule(place)).collect::<Result<_>>()?;
    config.redirects = vec![rule(&store)?];
    Ok(config)
}

/// A name that becomes a part of an address, and no other address.
fn label(name: &str) -> Result<&str> {
    match DnsLabel::parse(name) {
        Ok(_) => Ok(name),
        Err(_) => {
            let message = format!("`{}` is no name of a region or instance", name.escape_debug());
            Err(Error::invalid("read registry settings", message).with_remedy(
                "write the region like `cn-hangzhou`, the instance as its page in the console has it",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn regions_and_instances_have_the_addresses_that_alibaba_documents() {
        for (config, host) in [
            (region("cn-hangzhou", Network::Public), "registry.cn-hangzhou.aliyuncs.com"),
            (region("cn-hangzhou", Network::Vpc), "registry-vpc.cn-hangzhou.aliyuncs.com"),
            (instance("shop", "eu-central-1", Network::Public), "shop-registry.eu-central-1.cr.aliyuncs.com"),
            (
                instance("shop", "eu-central-1", Network::Vpc),
                "shop-registry-vpc.eu-central-1.cr.aliyuncs.com",
            ),
        ] {
            let config = config.unwrap();
            assert_eq!(config.host, host);
            assert_eq!(of_host(host), Some(config), "a host tells all that made it");
        }
        let newer = of_host("crpi-1a2b.cn-shanghai.personal.cr.aliyuncs.com").unwrap();
        assert!(
            newer.realms.contains(&HostRule::parse("https://dockerauth.cn-shanghai.aliyuncs.com/").unwrap())
        );
        for other in [
            "docker.io",
            "aliyuncs.com",
            "registry.cn-hangzhou.aliyuncs.com.evil.example",
            "oss.cn-hangzhou.aliyuncs.com",
            "evil.cn-hangzhou.cr.aliyuncs.com",
            "a.b.c.personal.cr.aliyuncs.com",
            "registry..aliyuncs.com",
        ] {
            assert_eq!(of_host(other), None, "{other}");
        }
    }

    #[test]
    fn tokens_come_from_the_regions_own_servers_only() {
        let places = region("cn-hangzhou", Network::Public).unwrap().token_places().unwrap();
        places.check("https://dockerauth.cn-hangzhou.aliyuncs.com/auth").unwrap();
        places.check("https://dockerauth-ee.cn-hangzhou.aliyuncs.com/auth").unwrap();
        for other in [
            "https://dockerauth.cn-beijing.aliyuncs.com/auth",
            "https://dockerauth-vpc.cn-hangzhou.aliyuncs.com/auth",
            "http://dockerauth.cn-hangzhou.aliyuncs.com/auth",
            "https://dockerauth.cn-hangzhou.aliyuncs.com.evil.example/auth",
        ] {
            places.check(other).unwrap_err();
        }
        let places = region("cn-zhangjiakou", Network::Public).unwrap().token_places().unwrap();
        places.check("https://dockerauth-cn-zhangjiakou.aliyuncs.com/auth").unwrap();
        let config = region("cn-hangzhou", Network::Vpc).unwrap();
        assert!(config.private);
        config.token_places().unwrap().check("https://dockerauth-vpc.cn-hangzhou.aliyuncs.com/auth").unwrap();
    }

    proptest! {
        #[test]
        fn no_name_becomes_an_address_elsewhere(name in "\\PC{0,20}", other in "[a-z0-9.@/:?#-]{0,20}") {
            for name in [name, other] {
                for config in [region(&name, Network::Public), instance(&name, "cn-hangzhou", Network::Vpc)] {
                    let Ok(config) = config else { continue };
                    prop_assert!(config.egress().is_ok());
                    prop_assert!(config.host.ends_with(".aliyuncs.com") && !config.host.contains(['/', '@', ':', '?', '#']));
                }
            }
        }
    }
}
