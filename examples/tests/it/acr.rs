//! The `registry` example at Alibaba Cloud's registry: a real registry in its place.

use kiops_core::http::{Reply, ScriptedHttp};
use serde_json::json;

use crate::door::Door;
use crate::registry::{assembled, daemon, printed, refused, registry, site};

const APP: &str = "registry.cn-hangzhou.aliyuncs.com/team/app";

#[test]
fn the_host_of_a_region_or_an_instance_is_told_with_where_it_sends_to() {
    let host = |call: &[&str]| printed(&registry(&[], &[&["acr-host"][..], call].concat()));
    let personal = host(&["cn-hangzhou"]);
    assert_eq!(personal["host"], "registry.cn-hangzhou.aliyuncs.com");
    let realms = personal["realms"].to_string();
    assert!(realms.contains("https://dockerauth.cn-hangzhou.aliyuncs.com"), "{realms}");
    let within = host(&["cn-hangzhou", "--instance", "shop", "--vpc"]);
    assert_eq!(within["host"], "shop-registry-vpc.cn-hangzhou.cr.aliyuncs.com");
    let error = refused(&registry(&[], &["acr-host", "cn_hangzhou"]));
    assert!(
        error.contains("`cn_hangzhou` is no name of a region") && error.contains("cn-hangzhou"),
        "{error}"
    );
}

#[test]
fn images_are_pushed_found_and_removed_in_its_place() {
    let Some(daemon) = daemon() else { return };
    let url = format!("http://{}", daemon.2);
    let connection = ["--acr", "--url", url.as_str()];
    let image = assembled(site().path(), &format!("{APP}:1.0"), &connection);
    assert_eq!(printed(&registry(&connection, &["check", APP]))["ok"], true);
    assert_eq!(printed(&registry(&connection, &["tags", APP]))["tags"], json!(["1.0"]));
    printed(&registry(&connection, &["delete", &image]));
    assert_eq!(printed(&registry(&connection, &["tags", APP]))["tags"], json!([]));
    let error = refused(&registry(&connection, &["tags", "harbor.example.com/team/app"]));
    assert!(error.contains("is none of Alibaba Cloud's") && error.contains("acr-host"), "{error}");
}

#[test]
fn the_account_goes_to_the_token_servers_of_its_own_region_alone() {
    let http = ScriptedHttp::answering(|_| {
        let realm = "Bearer realm=\"https://dockerauth.cn-beijing.aliyuncs.com/auth\",service=\"x\"";
        Reply::status(401).header("www-authenticate", realm)
    });
    let door = Door::open(http, &[("/", "https://registry.cn-hangzhou.aliyuncs.com")]);
    let connection = ["--acr", "--url", &door.url, "--username", "ci", "--password-env", "PASSWORD"];
    let error = refused(&registry(&connection, &["tags", APP]));
    assert!(
        error.contains("dockerauth.cn-beijing.aliyuncs.com")
            && error.contains("where the account may not go"),
        "{error}"
    );
}
