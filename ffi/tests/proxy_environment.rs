//! `proxy = system` reads the environment; in a process of its own, since the test changes it.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use s3vault::{Code, Control, Vault};

#[test]
fn the_proxy_of_the_environment_is_used_only_if_proxy_is_system() {
    // SAFETY: this is the only test of this program, and no other thread reads the environment.
    let set = |name: &str, value: &str| unsafe { std::env::set_var(name, value) };
    let store =
        embedded_store::Server::start(embedded_store::Options::new("access", "secret").bucket("vault")).unwrap();
    // Nothing listens there.
    set("http_proxy", "http://me:hush@127.0.0.1:1");
    set("NO_PROXY", "");
    let open = |transport: &str, proxy: &str| {
        let mut settings = support::reaching(&store.url(), "vault");
        settings.set("transport", transport).unwrap();
        settings.set("proxy", proxy).unwrap();
        let vault = Vault::open(&settings, None, &mut Control::none())?;
        vault.put("vm", "disk", &s3vault::Settings::new(), &mut Control::none()).map(drop)
    };
    for transport in ["direct", "reqwest"] {
        open(transport, "").unwrap();
        let error = open(transport, "system").unwrap_err();
        assert_eq!(error.code(), Code::Connect, "{error:?}");
        let shown = format!("{error:?}");
        assert!(shown.contains("the proxy http://127.0.0.1:1 (variable http_proxy)"), "{shown}");
        assert!(!shown.contains("hush"), "{shown}");
    }
    set("NO_PROXY", "127.0.0.0/8");
    for transport in ["direct", "reqwest"] {
        open(transport, "system").unwrap();
    }
}
