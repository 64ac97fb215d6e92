//! Header fields for table tests.

use http::HeaderMap;

/// The fields of a request or response, lines of the same name in their order.
pub(super) fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, value.parse().unwrap());
    }
    map
}
