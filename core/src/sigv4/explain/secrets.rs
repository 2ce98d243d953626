//! Secret values, which are compared but not shown, since explanations are pasted into tickets.

/// Replaces a secret value.
const HIDDEN: &str = "***";

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(&*name, "x-amz-security-token" | "proxy-authorization" | "cookie")
        || name.ends_with("-server-side-encryption-customer-key")
}

/// A canonical request, or a line of it, without secret values.
pub(super) fn hide(text: &str) -> String {
    text.split('\n').map(hide_line).collect::<Vec<_>>().join("\n")
}

fn hide_line(line: &str) -> String {
    match line.split_once(':') {
        Some((name, value)) if is_secret(name) && !value.is_empty() => format!("{name}:{HIDDEN}"),
        _ if line.contains("X-Amz-Security-Token=") => {
            let parameters = line.split('&').map(|parameter| match parameter.split_once('=') {
                Some((name, _)) if is_secret(name) => format!("{name}={HIDDEN}"),
                _ => parameter.to_owned(),
            });
            parameters.collect::<Vec<_>>().join("&")
        }
        _ => line.to_owned(),
    }
}

/// Whether two lines differ only in secret values of which one is hidden: then they are not known to differ.
pub(super) fn is_hidden_same(a: &str, b: &str) -> bool {
    (a.contains(HIDDEN) || b.contains(HIDDEN)) && hide_line(a) == hide_line(b)
}
