//! The URLs of a hook and of the status of a delivery.

/// The hook's URL: as given or, without a path, the URL of the default hook.
pub(super) fn hook_url(url: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        Err(format!(
            "the address of stackhook {why}, such as https://hooks.example.com"
        ))
    };
    // A guess would send the delivery over the wrong protocol.
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!(
            "the address of stackhook needs a scheme: http://{url} or https://{url}"
        ));
    };
    if !matches!(scheme, "http" | "https") {
        return wrong("must begin with http:// or https://");
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() || host.contains('@') {
        return wrong("must have a host, and no user in front of it");
    }
    match path {
        "" => Ok(format!("{scheme}://{host}/webhook/update/")),
        _ => Ok(url.to_owned()),
    }
}

/// The URL of a path on the same host. `None` if it is not a plain path: `//host`, `@host` or `\\host` would lead to another host.
pub(super) fn beside(url: &str, path: &str) -> Option<String> {
    let is_plain = path
        .bytes()
        .all(|byte| matches!(byte, b'!'..=b'~') && byte != b'\\');
    if !is_plain || !path.starts_with('/') || path.starts_with("//") {
        return None;
    }
    let (scheme, rest) = match url.find("://") {
        Some(at) => url.split_at(at + "://".len()),
        None => ("", url),
    };
    let host = rest.split_once('/').map_or(rest, |(host, _)| host);
    Some(format!("{scheme}{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_host_is_the_default_hook() {
        #[track_caller]
        fn check(given: &str, expected: Option<&str>) {
            assert_eq!(hook_url(given).ok().as_deref(), expected, "{given}");
        }
        let default = Some("https://hooks.example.com/webhook/update/");
        check("https://hooks.example.com", default);
        check("https://hooks.example.com/", default);
        check("hooks.example.com", None);
        check("127.0.0.1:8484", None);
        check(
            "http://[::1]:8484",
            Some("http://[::1]:8484/webhook/update/"),
        );
        check(
            "https://example.com/hooks/webhook/update/app/",
            Some("https://example.com/hooks/webhook/update/app/"),
        );
        check("ftp://example.com", None);
        check("https://user:hush@example.com", None);
        check("https://", None);
    }

    #[test]
    fn the_status_is_asked_on_the_same_host() {
        let url = "https://example.com:8443/hooks/webhook/update/";
        assert_eq!(
            beside(url, "/hooks/webhook/deliveries/1/").as_deref(),
            Some("https://example.com:8443/hooks/webhook/deliveries/1/")
        );
        assert_eq!(
            beside("http://example.com", "/a").as_deref(),
            Some("http://example.com/a")
        );
        for path in [
            "",
            "@evil.example/x",
            "@127.0.0.1:1/x",
            ":81/x",
            ".evil.example/x",
            "//evil.example/x",
            "/\\evil.example/x",
            "\\\\evil.example/x",
            "http://evil.example/x",
            "/a\r\nX: y",
            "/a b",
            "/ä",
        ] {
            assert_eq!(beside(url, path), None, "{path:?}");
        }
    }
}
