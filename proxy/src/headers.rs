//! How many headers a request may have, and how large: we read one of them, and nobody needs many.

use async_nats::HeaderMap;

use crate::{error::Error, name::quoted};

/// Most values that the headers of a request may have together.
const MAX_COUNT: usize = 64;
/// Most bytes of the headers of a request, names and values together.
const MAX_BYTES: usize = 16 * 1024;

/// Checks the headers of a request.
///
/// # Errors
///
/// `invalid_argument` that names the header and the limit.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Error> {
    let (mut count, mut bytes) = (0, 0);
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        for value in values {
            count += 1;
            bytes += name.len() + value.as_str().len();
        }
        if count > MAX_COUNT {
            let shown = quoted(name);
            let message = format!("the request has more headers than {MAX_COUNT}, \"{shown}\" among them");
            return Err(Error::invalid(message).hint("send what a skill is to know as an argument"));
        }
        if bytes > MAX_BYTES {
            let shown = quoted(name);
            let message = format!("the headers of the request are over {MAX_BYTES} bytes with \"{shown}\"");
            return Err(Error::invalid(message).hint("send what a skill is to know as an argument"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_20_headers_are_bounded() {
        let mut headers = HeaderMap::new();
        assert!(check(&headers).is_ok());
        headers.insert("traceparent", "x".repeat(1_024));
        assert!(check(&headers).is_ok());
        headers.insert("large", "x".repeat(MAX_BYTES));
        let message = check(&headers).unwrap_err().message;
        assert!(message.contains("16384"), "{message}");
        let mut headers = HeaderMap::new();
        for _ in 0..10_000 {
            headers.append("many", "x");
        }
        let message = check(&headers).unwrap_err().message;
        assert!(message.contains("64") && message.contains("many"), "{message}");
    }
}
