//! Files that an app may keep for one person: what a cookie does to static-file classes.

use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

stories![personal_files_document_with_a_cookie_is_its_owners, personal_files_styles_and_images_are_shared_whoever_asks,];

/// A file of each class, as an app that says nothing about caching sends it.
async fn files() -> Upstream {
    Upstream::start(|request| {
        let kind = match request.path() {
            "/logo.png" => "image/png",
            "/app.css" => "text/css",
            _ => "application/pdf",
        };
        Reply::ok().header("content-type", kind).body(request.fields.get("cookie").unwrap_or("nobody"))
    })
    .await
}

const ANNA: &[(&str, &str)] = &[("cookie", "session=anna")];
const BERT: &[(&str, &str)] = &[("cookie", "session=bert")];

async fn personal_files_document_with_a_cookie_is_its_owners() {
    let upstream = files().await;
    let proxy = Proxy::before(&upstream);
    for _ in 0..2 {
        for (who, said) in [(ANNA, "session=anna"), (BERT, "session=bert"), (&[][..], "nobody")] {
            assert_eq!(proxy.get("/invoices/42.pdf", who).await.text(), said);
        }
    }
    let own = proxy.get("/invoices/43.pdf", ANNA).await;
    assert_eq!(own.field("cache-control"), "");
    assert_eq!(own.field("cache-status"), "larder; fwd=uri-miss; detail=cookie-request", "a file, and no disguise");
    assert!(proxy.get("/invoices/42.pdf", &[]).await.is_hit(), "without cookies it is shared");
}

async fn personal_files_styles_and_images_are_shared_whoever_asks() {
    let upstream = files().await;
    let proxy = Proxy::before(&upstream);
    for path in ["/logo.png", "/app.css"] {
        proxy.get(path, ANNA).await;
        assert!(proxy.get(path, BERT).await.is_hit());
        assert!(proxy.get(path, &[]).await.field("cache-control").starts_with("public, max-age="));
        assert_eq!(upstream.count(path), 1);
    }
}
