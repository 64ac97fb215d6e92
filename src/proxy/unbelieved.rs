//! Fields of requests that only a trusted proxy may send.

use http::HeaderMap;

use crate::policy::fields;

/// Removes the fields that only a trusted proxy may send, and tells whether there were any. Before anything looks at
/// them: what the upstream does not get must neither route nor select a stored response.
pub(super) fn remove(headers: &mut HeaderMap, via_trusted_proxy: bool) -> bool {
    fields::remove_where(headers, |name| is_unbelieved(name.as_str(), via_trusted_proxy))
}

/// Whether there are fields that only a trusted proxy may send.
pub(super) fn any(headers: &HeaderMap, via_trusted_proxy: bool) -> bool {
    headers.keys().any(|name| is_unbelieved(name.as_str(), via_trusted_proxy))
}

/// Fields beside X-Forwarded-* by which a client could pretend to be a proxy or somebody whom a proxy knows, or make an app
/// see another URL, method, scheme or configuration (`Proxy`: httpoxy) than larder does.
///
/// A match, since that tells names apart by their length first: as a list it costs 500 instructions more a hit.
fn is_only_from_proxies(name: &str) -> bool {
    has_prefix_of_proxies(name)
        || matches!(
            name,
            "cdn-src-ip"
                | "cf-access-authenticated-user-email"
                | "cf-connecting-ip"
                | "cf-connecting-ipv6"
                | "cf-visitor"
                | "client-cert"
                | "client-cert-chain"
                | "client-ip"
                | "cloudfront-forwarded-proto"
                | "cloudfront-viewer-address"
                | "fastly-client-ip"
                | "fastly-ssl"
                | "fly-client-ip"
                | "forwarded"
                | "forwarded-for"
                | "front-end-https"
                | "http-host"
                | "incap-client-ip"
                | "ms-aspnetcore-clientcert"
                | "ms-aspnetcore-token"
                | "proxy"
                | "proxy-client-ip"
                | "remote-email"
                | "remote-groups"
                | "remote-name"
                | "remote-user"
                | "script-name"
                | "ssl-offloaded"
                | "true-client-ip"
                | "wl-proxy-client-ip"
                | "wl-proxy-ssl"
                | "x-accel-mapping"
                | "x-appengine-user-ip"
                | "x-arr-clientcert"
                | "x-arr-ssl"
                | "x-azure-clientip"
                | "x-azure-socketip"
                | "x-backend-host"
                | "x-client-cert"
                | "x-client-dn"
                | "x-client-ip"
                | "x-client-verify"
                | "x-cluster-client-ip"
                | "x-custom-ip-authorization"
                | "x-envoy-external-address"
                | "x-envoy-original-dst-host"
                | "x-envoy-original-path"
                | "x-forward-for"
                | "x-forward-proto"
                | "x-forwarded"
                | "x-host"
                | "x-http-dest-url"
                | "x-http-destinationurl"
                | "x-http-host-override"
                | "x-http-method"
                | "x-http-method-override"
                | "x-http-path-override"
                | "x-https"
                | "x-invoke-path"
                | "x-is-ssl"
                | "x-matched-path"
                | "x-method-override"
                | "x-middleware-rewrite"
                | "x-middleware-subrequest"
                | "x-ms-original-url"
                | "x-nf-client-connection-ip"
                | "x-original-for"
                | "x-original-forwarded-for"
                | "x-original-host"
                | "x-original-method"
                | "x-original-prefix"
                | "x-original-proto"
                | "x-original-remote-addr"
                | "x-original-uri"
                | "x-original-url"
                | "x-originating-ip"
                | "x-override-url"
                | "x-proto"
                | "x-proxyuser-ip"
                | "x-real-ip"
                | "x-remote-addr"
                | "x-remote-ip"
                | "x-remote-user"
                | "x-request-uri"
                | "x-rewrite-host"
                | "x-rewrite-uri"
                | "x-rewrite-url"
                | "x-scheme"
                | "x-script-name"
                | "x-sendfile-type"
                | "x-ssl"
                | "x-ssl-cert"
                | "x-sucuri-clientip"
                | "x-url-scheme"
                | "x-vercel-forwarded-for"
                | "x-waws-unencoded-url"
                | "x-webauth-user"
        )
}

/// Families of such fields. Of what browsers send, little more than the first letter is looked at.
fn has_prefix_of_proxies(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b's') => name.starts_with("ssl-client-"),
        Some(b't') => name.starts_with("tailscale-user-"),
        Some(b'x') => {
            name.starts_with("x-forwarded-")
                || name.starts_with("x-ssl-client-")
                || name.starts_with("x-auth-request-")
                || name.starts_with("x-ms-client-principal")
                || name.starts_with("x-amzn-oidc-")
        }
        _ => false,
    }
}

fn is_unbelieved(name: &str, via_trusted_proxy: bool) -> bool {
    if name.contains('_') {
        // CGI and WSGI apps can't tell `X_Forwarded_For` from `X-Forwarded-For`; no proxy sends the former.
        let dashed = name.replace('_', "-");
        return is_only_from_proxies(&dashed) || matches!(&*dashed, "content-length" | "transfer-encoding");
    }
    !via_trusted_proxy && is_only_from_proxies(name)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn fields_that_only_proxies_may_send_are_removed_from_others() {
        for (name, from_proxy, from_client) in [
            ("forwarded", true, false),
            ("x-forwarded-for", true, false),
            ("x-forwarded-anything", true, false),
            ("x-original-url", true, false),
            ("x-original-uri", true, false),
            ("x-override-url", true, false),
            ("x-http-host-override", true, false),
            ("x-http-method-override", true, false),
            ("proxy", true, false),
            ("x_forwarded_for", false, false),
            ("x-forwarded_for", false, false),
            ("transfer_encoding", false, false),
            ("x_own", true, true),
            ("x-own", true, true),
            ("x-forwarded", true, false),
            ("cf-connecting-ip", true, false),
            ("cf-visitor", true, false),
            ("x-remote-user", true, false),
            ("x-ssl-client-s-dn", true, false),
            ("ssl_client_verify", false, false),
            ("script_name", false, false),
            ("x-forwardedness", true, true),
            ("x-middleware-subrequest", true, false),
            ("x-sendfile-type", true, false),
            ("client-cert", true, false),
            ("x-auth-request-email", true, false),
            ("x-ms-client-principal", true, false),
            ("x-ms-client-principal-id", true, false),
            ("x-amzn-oidc-identity", true, false),
            ("x_amzn_oidc_data", false, false),
            ("tailscale-user-login", true, false),
            ("ms-aspnetcore-clientcert", true, false),
            ("cloudfront-viewer-address", true, false),
            ("remote-groups", true, false),
            ("x-request-id", true, true),
            ("x-requested-with", true, true),
        ] {
            for (trusted, stays) in [(true, from_proxy), (false, from_client)] {
                let mut headers = HeaderMap::new();
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
                remove(&mut headers, trusted);
                assert_eq!(!headers.is_empty(), stays, "{name}, trusted: {trusted}");
            }
        }
    }
}
