//! A script names paths below the site's address. Servers and proxies disagree about what a path means, so one that any of
//! them could take for a way out is refused.
use super::Failure;
use crate::resource::probe::MAX_PATH;
use reqwest::Url;

/// The address that a path of a script means.
pub fn below(base: &Url, path: &str) -> Result<Url, Failure> {
    if path.len() > MAX_PATH {
        return Err(Failure::invalid(format!("a path has at most {MAX_PATH} bytes")));
    }
    if !path.starts_with('/') {
        return Err(Failure::invalid("a path begins with `/`"));
    }
    if path.contains(|c: char| c.is_control() || c == '#') {
        return Err(Failure::invalid("a path holds neither control characters nor `#`"));
    }
    let (place, query) = path.split_once('?').map_or((path, None), |(place, query)| (place, Some(query)));
    if climbs(place) {
        return Err(Failure::invalid("the path leads out of the address that the site gives"));
    }
    // A backslash would be a slash to the parser of addresses.
    let place = place.replace('\\', "%5C");
    let root = base.path().trim_end_matches('/').to_owned();
    let mut url = base.clone();
    url.set_path(&format!("{root}{place}"));
    url.set_query(query);
    // What was found above is looked at again where it counts: in the address that is asked.
    let inside = url.path().strip_prefix(&root).is_some_and(|rest| rest.starts_with('/'));
    if url.origin() != base.origin() || !inside {
        return Err(Failure::invalid("the path leads out of the address that the site gives"));
    }
    Ok(url)
}

/// Whether more segments go up than down at any place, however often it was encoded.
fn climbs(path: &str) -> bool {
    let mut bytes = path.as_bytes().to_vec();
    loop {
        let decoded = decode(&bytes);
        if decoded == bytes {
            break;
        }
        bytes = decoded;
    }
    let mut depth = 0i32;
    for segment in bytes.split(|b| matches!(b, b'/' | b'\\')) {
        // Some servers cut off `;parameters` first.
        let name = segment.split(|b| *b == b';').next().unwrap_or_default();
        match name.trim_ascii() {
            b"" | b"." => {}
            b".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

fn decode(bytes: &[u8]) -> Vec<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn base() -> Url {
        Url::parse("http://shop.test:8080/app/v1/").unwrap()
    }

    #[test]
    fn paths_are_below_the_base() {
        for (path, wanted) in [
            ("/", "/app/v1/"),
            ("/orders/1?full=1&x=../..", "/app/v1/orders/1?full=1&x=../.."),
            ("/a/../b/./c", "/app/v1/b/c"),
            ("//evil.test/x", "/app/v1//evil.test/x"),
            ("/@evil.test", "/app/v1/@evil.test"),
            ("/x:y@evil.test:80/", "/app/v1/x:y@evil.test:80/"),
            ("/\\evil.test\\x", "/app/v1/%5Cevil.test%5Cx"),
            ("/two words/ü", "/app/v1/two%20words/%C3%BC"),
            ("/http://evil.test/", "/app/v1/http://evil.test/"),
            ("/...", "/app/v1/..."),
            ("/?", "/app/v1/?"),
        ] {
            let url = below(&base(), path).unwrap();
            assert_eq!(url.as_str(), format!("http://shop.test:8080{wanted}"), "{path}");
        }
        let bare = Url::parse("http://[::1]:80").unwrap();
        assert_eq!(below(&bare, "//evil.test").unwrap().as_str(), "http://[::1]//evil.test");
    }

    #[test]
    fn ways_out_are_refused() {
        let long = format!("/{}", "x".repeat(MAX_PATH));
        for path in [
            "",
            "orders",
            "http://evil.test/",
            "@evil.test",
            ":80/",
            "?x=1",
            "/..",
            "/../secret",
            "/a/../../secret",
            "/%2e%2e/secret",
            "/.%2E/secret",
            "/..%2fsecret",
            "/%252e%252e%252fsecret",
            "/%25252e%25252e/secret",
            "/..\\secret",
            "/..%5Csecret",
            "/..;/secret",
            "/..;x=1/secret",
            "/%2e%2e%3b/secret",
            "//../secret",
            "/.. /secret",
            "/a\r\nHost: evil.test",
            "/a\nb",
            "/a\tb",
            "/a\0b",
            "/a#b",
            &long,
        ] {
            assert_eq!(below(&base(), path).unwrap_err().kind.as_str(), "invalid", "{path:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_path_leaves_the_base(parts in prop::collection::vec(prop::sample::select(vec![
            "/", "..", ".", "%2e", "%2E", "%252e", "%2f", "%5c", "\\", ";", "@", ":", "?", "a", "evil.test", "//", " ", "%", "é",
        ]), 0..12)) {
            if let Ok(url) = below(&base(), &format!("/{}", parts.concat())) {
                prop_assert_eq!(url.host_str(), Some("shop.test"));
                prop_assert_eq!(url.port(), Some(8080));
                prop_assert_eq!(url.username(), "");
                prop_assert!(url.path().starts_with("/app/v1/"), "{}", url);
                prop_assert!(!climbs(url.path().strip_prefix("/app/v1").unwrap()), "{}", url);
            }
        }
    }
}
