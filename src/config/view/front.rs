//! Listeners, and what a route asks of its clients, in the words of the file.

use serde_json::{Value, json};

use super::strings;
use crate::config::scalar::{duration_text, size_text};
use crate::config::settings::{
    Access, BasicAuth, CertificateFiles, ClientCertificates, Concurrency, ForwardAuth, ListenAddress, Listener,
    ListenerLimits, ListenerTls, RateKey, RateLimit, RouteLimits, UpstreamServer,
};

pub(super) fn listener(listener: &Listener) -> Value {
    let Listener { address, mode, tls, proxy_protocol, https_redirect, hsts, limits } = listener;
    let ListenerLimits { connections, connections_per_address, rate } = limits;
    let mode = matches!(address, ListenAddress::Unix(_)).then(|| format!("{mode:04o}"));
    json!({
        "address": address.to_string(),
        "mode": mode,
        "tls": tls.as_ref().map(listener_tls),
        "proxy_protocol": strings(proxy_protocol),
        "https_redirect": https_redirect,
        "hsts": hsts.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        "limits": {
            "connections": connections,
            "connections_per_address": connections_per_address,
            "rate": rate.as_ref().map(rate_text),
            "burst": rate.map(|rate| rate.burst.get()),
        },
    })
}

fn listener_tls(tls: &ListenerTls) -> Value {
    let ListenerTls { certificates, http2, client } = tls;
    let files = |CertificateFiles { cert, key }: &CertificateFiles| json!({ "cert": cert.display().to_string(), "key": key.display().to_string() });
    let client = client.as_ref().map(|ClientCertificates { ca, required, subject_field }| {
        (ca.display().to_string(), required, subject_field.as_ref().map(ToString::to_string))
    });
    json!({
        "certificates": certificates.iter().map(files).collect::<Vec<_>>(),
        "http2": http2,
        "client_ca": client.as_ref().map(|(ca, ..)| ca),
        "client_certificate": client.as_ref().map(|(_, required, _)| if **required { "required" } else { "optional" }),
        "subject_field": client.as_ref().and_then(|(.., field)| field.as_ref()),
    })
}

pub(super) fn route_limits(limits: &RouteLimits) -> Value {
    let RouteLimits { rate, concurrency, bandwidth } = limits;
    let rate_by = rate.as_ref().map(|(_, key)| match key {
        RateKey::Address => "address".to_owned(),
        RateKey::Route => "route".to_owned(),
        RateKey::Header(name) => format!("header:{name}"),
        RateKey::Cookie(name) => format!("cookie:{name}"),
    });
    let concurrency = concurrency.map(|Concurrency { most, queue, wait }| (most, queue, duration_text(wait)));
    json!({
        "rate": rate.as_ref().map(|(rate, _)| rate_text(rate)),
        "burst": rate.as_ref().map(|(rate, _)| rate.burst.get()),
        "rate_by": rate_by,
        "concurrency": concurrency.as_ref().map(|(most, ..)| most),
        "queue": concurrency.as_ref().map(|(_, queue, _)| queue),
        "queue_timeout": concurrency.as_ref().map(|(.., wait)| wait),
        "bandwidth": bandwidth.map(size_text),
    })
}

pub(super) fn access(access: &Access) -> Value {
    let Access { allow, deny, basic, forward } = access;
    let basic = basic.as_ref().map(
        |BasicAuth { file, realm, pass }| json!({ "file": file.display().to_string(), "realm": realm, "pass": pass }),
    );
    let forward = forward.as_ref().map(|ForwardAuth { server, target, headers, cache }| {
        let url =
            |it: &UpstreamServer| format!("{}://{}{target}", if it.tls { "https" } else { "http" }, it.authority());
        json!({
            "url": server.servers.first().map(url),
            "headers": strings(headers),
            "timeout": duration_text(server.timeouts.first_byte),
            "cache": duration_text(*cache),
        })
    });
    json!({ "allow": strings(allow), "deny": strings(deny), "basic": basic, "forward": forward })
}

fn rate_text(rate: &RateLimit) -> String {
    let unit = match rate.per.as_secs() {
        1 => "s",
        60 => "m",
        _ => "h",
    };
    format!("{}/{unit}", rate.count)
}
