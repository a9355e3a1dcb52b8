//! Pages by `Link` headers (RFC 8288).

use http::{HeaderMap, header};
use url::Url;

/// What the parameter `name` is in the address of the next page, where there is one. Only the parameter is taken: no address of an
/// answer is ever called.
pub(crate) fn next_parameter(headers: &HeaderMap, name: &str) -> Option<String> {
    let links = headers.get_all(header::LINK).iter().filter_map(|value| value.to_str().ok());
    let address = links.flat_map(split).find_map(|(address, parameters)| {
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').split(' ').any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        is_next.then_some(address)
    })?;
    let base = Url::parse("https://host.invalid/").ok()?;
    let url = Url::options().base_url(Some(&base)).parse(address).ok()?;
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The links of a header, each with its parameters.
fn split(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let links = value.split('<').skip(1).filter_map(|link| link.split_once('>'));
    links.map(|(address, parameters)| (address, parameters.trim_end().trim_end_matches(',')))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn next(value: &str, name: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::LINK, HeaderValue::from_str(value).ok()?);
        next_parameter(&headers, name)
    }

    #[test]
    fn the_next_page_is_found_among_other_links() {
        let links = r#"<https://h/x?page=1>; rel="prev", <https://h/x?a=b&page=3>; rel="next", <https://h/x?page=9>; rel="last""#;
        assert_eq!(next(links, "page").as_deref(), Some("3"));
        assert_eq!(next("</x?cursor=a%2Fb>;rel=next", "cursor").as_deref(), Some("a/b"));
        assert_eq!(next(r#"<https://h/x?page=9>; rel="last""#, "page"), None);
        assert_eq!(next("nonsense", "page"), None);
    }

    proptest! {
        #[test]
        fn any_header_is_read(value in "[ -~]{0,200}") {
            drop(next(&value, "page"));
        }
    }
}
