//! The URLs that credentials may be requested from.
//!
//! Source: "Container credential provider" and "IMDS credential provider", AWS SDKs and Tools reference guide. A
//! container's URL comes from the environment, and the request may carry a token. So over plain HTTP, its host must be
//! this machine, or an agent on it.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The agent of ECS.
const ECS: &str = "http://169.254.170.2";

const INSTANCE: &str = "http://169.254.169.254";
const INSTANCE_V6: &str = "http://[fd00:ec2::254]";

/// The agents of ECS and EKS. The guide writes 169.254.170.2/23 for both: the two addresses, not a network.
const AGENTS: [Ipv4Addr; 2] = [Ipv4Addr::new(169, 254, 170, 2), Ipv4Addr::new(169, 254, 170, 23)];
const AGENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23);

/// The parts of a URL. Anything that two URL parsers could read differently (a user, a backslash, blanks, a fragment) is
/// refused.
struct Parts<'a> {
    is_https: bool,
    /// Host; an IPv6 address is in brackets.
    host: &'a str,
    /// Host and port.
    authority: &'a str,
    /// Path and query; may be empty.
    rest: &'a str,
}

fn parts(url: &str) -> Result<Parts<'_>, &'static str> {
    let (scheme, after) = url.split_once("://").ok_or("it is not a URL")?;
    let is_https = match scheme {
        "https" => true,
        "http" => false,
        _ => return Err("it does not start with http:// or https://"),
    };
    if !after.bytes().all(|byte| byte.is_ascii_graphic()) || after.contains(['\\', '#']) {
        return Err("it contains blanks, '\\', '#' or non-ASCII characters");
    }
    let (authority, rest) = after.split_at(after.find(['/', '?']).unwrap_or(after.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().is_ok_and(|port| port > 0)),
        _ => (authority, true),
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')),
    };
    match (is_host, port) {
        (false, _) => Err("its host is invalid"),
        (_, false) => Err("its port is invalid"),
        _ => Ok(Parts { is_https, host, authority, rest }),
    }
}

/// Whether a request to this host stays on this machine: the host is this machine, or an agent on it.
fn is_local(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback() || address == AGENT_V6);
    }
    // The parser of `Ipv4Addr` accepts only four decimal numbers, so the text cannot be read in another way.
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback() || AGENTS.contains(&address))
}

/// The URL in `AWS_CONTAINER_CREDENTIALS_FULL_URI`, or why it is refused.
pub(super) fn full(url: &str) -> Result<String, String> {
    let Parts { is_https, host, authority, rest } = parts(url)?;
    if !is_https && !is_local(host) {
        return Err(format!(
            "http:// is allowed to this machine (localhost, 127.0.0.1, [::1]) and to 169.254.170.2, 169.254.170.23 and \
             [fd00:ec2::23] only, and the host is {host}"
        ));
    }
    let scheme = if is_https { "https" } else { "http" };
    let slash = if rest.starts_with('/') { "" } else { "/" };
    Ok(format!("{scheme}://{authority}{slash}{rest}"))
}

/// The URL that `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` stands for, or why it is refused.
pub(super) fn relative(path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err("it does not start with '/'".to_owned());
    }
    full(&format!("{ECS}{path}"))
}

/// The URL of the instance metadata service, without a trailing slash.
pub(super) fn instance(endpoint: Option<&str>, mode: Option<&str>) -> Result<String, String> {
    let Some(endpoint) = endpoint else {
        return match mode.map(str::to_ascii_lowercase).as_deref() {
            None | Some("ipv4") => Ok(INSTANCE.to_owned()),
            Some("ipv6") => Ok(INSTANCE_V6.to_owned()),
            Some(_) => Err("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is neither IPv4 nor IPv6".to_owned()),
        };
    };
    match parts(endpoint) {
        Ok(parts) if parts.rest.contains('?') => Err("AWS_EC2_METADATA_SERVICE_ENDPOINT has a query".to_owned()),
        Ok(_) => Ok(endpoint.trim_end_matches('/').to_owned()),
        Err(why) => Err(format!("AWS_EC2_METADATA_SERVICE_ENDPOINT: {why}")),
    }
}

/// Scheme, host and port. Messages leave out the path, since the path of a container's URL is a secret.
pub(super) fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    url[start..].find(['/', '?']).map_or(url, |at| &url[..start + at])
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_hosts_that_a_container_may_name() {
        for (url, asked) in [
            ("http://127.0.0.1/keys", "http://127.0.0.1/keys"),
            ("http://127.1.2.3:8080/keys?a=1", "http://127.1.2.3:8080/keys?a=1"),
            ("http://localhost:1", "http://localhost:1/"),
            ("http://LocalHost?x", "http://LocalHost/?x"),
            ("http://[::1]:80/", "http://[::1]:80/"),
            ("http://169.254.170.2/v2/keys", "http://169.254.170.2/v2/keys"),
            ("http://169.254.170.23/v1/credentials", "http://169.254.170.23/v1/credentials"),
            ("http://[fd00:ec2::23]/v1/credentials", "http://[fd00:ec2::23]/v1/credentials"),
            ("http://[FD00:0EC2::0023]/", "http://[FD00:0EC2::0023]/"),
            ("https://keys.example.com/x", "https://keys.example.com/x"),
            ("https://203.0.113.1:8443", "https://203.0.113.1:8443/"),
        ] {
            assert_eq!(full(url).as_deref(), Ok(asked), "{url}");
        }
        for url in [
            "http://keys.example.com/",
            "http://169.254.170.3/",
            "http://169.254.169.254/",
            "http://169.254.170.230/",
            "http://127.0.0.1.example.com/",
            "http://localhost.example.com/",
            "http://127.0.0.1@example.com/",
            "http://user:secret@127.0.0.1/",
            "http://example.com\\@127.0.0.1/",
            "http://example.com#@127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://127.0.0.01/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:169.254.170.2]/",
            "http://[fd00:ec2::23%25eth0]/",
            "http://[::1/",
            "http://::1/",
            "http://0.0.0.0/",
            "http://[::]/",
            "http://local\thost/",
            "http://local%68ost/",
            "http://localhost:0/",
            "http://localhost:99999/",
            "http://localhost:/",
            "http:///keys",
            "https://",
            "https://a b/",
            "https://user@keys.example.com/",
            "HTTP://127.0.0.1/",
            "ftp://127.0.0.1/",
            "//127.0.0.1/",
            "/v2/keys",
            "",
        ] {
            assert!(full(url).is_err(), "{url}");
        }
        let e = full("http://keys.example.com/secret-path").unwrap_err();
        assert!(e.ends_with("the host is keys.example.com"), "{e}");
    }

    #[test]
    fn a_relative_one_stays_at_the_agent() {
        assert_eq!(relative("/v2/keys?a=1").as_deref(), Ok("http://169.254.170.2/v2/keys?a=1"));
        for path in [".example.com/", "@example.com/", ":80@example.com", "3/", "", "/a b", "/\\x", "/#"] {
            assert!(relative(path).is_err(), "{path}");
        }
    }

    #[test]
    fn where_the_instances_metadata_is() {
        assert_eq!(instance(None, None).as_deref(), Ok("http://169.254.169.254"));
        assert_eq!(instance(None, Some("IPv6")).as_deref(), Ok("http://[fd00:ec2::254]"));
        assert_eq!(instance(Some("http://h:1338/"), Some("nonsense")).as_deref(), Ok("http://h:1338"));
        assert!(instance(None, Some("IPv5")).is_err());
        assert!(instance(Some("h:1338"), None).is_err() && instance(Some("http://h?x"), None).is_err());
    }

    #[test]
    fn an_origin_has_no_path() {
        for (url, shown) in
            [("http://h:1/secret?s", "http://h:1"), ("http://h?s", "http://h"), ("https://h", "https://h"), ("h", "h")]
        {
            assert_eq!(origin(url), shown);
        }
    }
}
