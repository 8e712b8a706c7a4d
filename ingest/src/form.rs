//! Gitea's form encoding: the event is the `payload` field, and the signature is of its decoded bytes.
//!
//! Decoded here rather than by a crate because those give text with replacement characters, and the signature
//! was made over the bytes.

/// Decodes the one `payload` field of a form; none when it is missing or there are several.
pub(crate) fn payload(form: &[u8]) -> Option<Vec<u8>> {
    let mut payloads = form.split(|byte| *byte == b'&').filter_map(|field| {
        let mut halves = field.splitn(2, |byte| *byte == b'=');
        let name = decode(halves.next().unwrap_or_default());
        (name == b"payload").then(|| decode(halves.next().unwrap_or_default()))
    });
    let first = payloads.next();
    if payloads.next().is_some() { None } else { first }
}

/// Undoes `+` and `%XX`; a `%` that two hex digits do not follow stands for itself.
fn decode(encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&first, after)) = rest.split_first() {
        let escaped =
            (first == b'%').then(|| after.first_chunk::<2>().and_then(|pair| hex_pair(*pair))).flatten();
        match (first, escaped) {
            (_, Some(byte)) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            (b'+', None) => {
                decoded.push(b' ');
                rest = after;
            }
            (other, None) => {
                decoded.push(other);
                rest = after;
            }
        }
    }
    decoded
}

fn hex_pair(pair: [u8; 2]) -> Option<u8> {
    let mut byte = [0];
    hex::decode_to_slice(pair, &mut byte).ok().map(|()| byte[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_payload_is_decoded() {
        let cases: [(&[u8], Option<&[u8]>); 9] = [
            (b"payload=%7B%22a%22%3A+1%7D", Some(b"{\"a\": 1}")),
            (b"x=1&payload=%C3%A9&y", Some("é".as_bytes())),
            (b"p%61yload=a", Some(b"a")),
            (b"payload=%FF", Some(b"\xff")),
            (b"payload=100%+%4", Some(b"100% %4")),
            (b"payload", Some(b"")),
            (b"payload=a=b", Some(b"a=b")),
            (b"payload=a&payload=b", None),
            (b"foo=bar", None),
        ];
        for (form, expected) in cases {
            assert_eq!(payload(form).as_deref(), expected, "{}", String::from_utf8_lossy(form));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_form_panics(form: Vec<u8>) {
            let _ = payload(&form);
        }
    }
}
