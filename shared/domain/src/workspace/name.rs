//! The one mapping between the key of a work item and the branch it is worked on.
//!
//! It is injective, also where a file system or a forge does not tell letters of both cases apart, and no name is a folder of
//! another. What needs no change stays as it is; what does can be read, and all but the longest can be read back.

use sha2::{Digest as _, Sha256};

use super::is_ref_safe;
use crate::text;

/// What every branch of ours begins with; `launch` finds the work item by the rest.
pub const BRANCH_PREFIX: &str = "orch/";
/// The longest key that is read back from a branch, in bytes.
pub const KEY_BYTES_MAX: usize = 100;
/// The longest name; a key whose name would be longer is named by its hash.
const NAME_BYTES_MAX: usize = 115;
/// The most of such a key that stays readable.
const READABLE_BYTES_MAX: usize = 48;
/// Hexadecimal digits of its hash.
const HASH_DIGITS: usize = 32;
/// Begins the part of a name that says which letters have another case than is usual for such a key; empty where none has.
const CASE_MARK: &str = "++";
/// Begins a hash: no escape, which has two hexadecimal digits.
const HASH_MARK: &str = "+x";

/// The branch of a work item: `orch/<key>` where the key is plain. Else each odd character is `+` and its two hexadecimal
/// digits, and at the end `++` and a digit for each four letters say which have an unusual case.
pub fn branch(key: &str) -> String {
    format!("{BRANCH_PREFIX}{}", named(key).unwrap_or_else(|| hashed(key)))
}

/// The key of the work item whose branch this is; `None`: it is nobody's, or its key is too long to be told from it.
pub fn key_of_branch(name: &str) -> Option<String> {
    let name = name.strip_prefix(BRANCH_PREFIX)?;
    if !name.contains('+') {
        // A person's own, such as `orch/fix-1`: its key is what it says.
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.#/@".contains(&byte));
        return (is_plain && !name.is_empty() && name.len() <= KEY_BYTES_MAX).then(|| name.to_owned());
    }
    let body = name.split_once(CASE_MARK).map_or(name, |(body, _)| body);
    let key = unescaped(body)?;
    let is_fit = !key.is_empty() && key.len() <= KEY_BYTES_MAX && text::line(&key, KEY_BYTES_MAX) == key;
    (is_fit && named(&key).as_deref() == Some(name)).then_some(key)
}

/// Whether every letter of a key has the case that is usual: capitals in a tracker's keys, such as `SHOP-12`, and no capitals
/// in others. Of keys that differ by case alone at most one is usual.
pub fn has_usual_case(key: &str) -> bool {
    odd_letters(key).iter().all(|is_odd| !is_odd)
}

fn named(key: &str) -> Option<String> {
    let parts =
        key.split_once('/').filter(|(owner, rest)| is_word(owner) && !rest.is_empty() && !rest.contains('/'));
    let mut name = match parts {
        Some((owner, rest)) => format!("{owner}/{}", escaped(rest)),
        None => escaped(key),
    };
    // A single word may be an owner, whose branches lie in a folder of that name.
    if !has_usual_case(key) || is_word(key) || key.is_empty() {
        name.push_str(CASE_MARK);
        if !has_usual_case(key) {
            name.push_str(&digits(&odd_letters(key)));
        }
    }
    (name.len() <= NAME_BYTES_MAX && is_ref_safe(&format!("{BRANCH_PREFIX}{name}"))).then_some(name)
}

fn hashed(key: &str) -> String {
    let readable: String = key
        .bytes()
        .take(READABLE_BYTES_MAX)
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte) } else { '_' })
        .collect();
    let hash = hex::encode(Sha256::digest(key.as_bytes()));
    format!("{readable}{HASH_MARK}{}", &hash[..HASH_DIGITS])
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn escaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let is_letter = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let stays = |at: usize, byte: u8| match byte {
        b'_' | b'#' => true,
        b'@' => bytes.len() > 1,
        b'-' => at > 0,
        b'.' => {
            let is_lock = bytes[at + 1..].eq_ignore_ascii_case(b"lock");
            at > 0 && is_letter(at - 1) && is_letter(at + 1) && !is_lock
        }
        byte => byte.is_ascii_alphanumeric(),
    };
    let shown = |(at, byte): (usize, &u8)| {
        if stays(at, *byte) { char::from(*byte).to_string() } else { format!("+{byte:02x}") }
    };
    bytes.iter().enumerate().map(shown).collect()
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('+') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// Which letters of a key, in their order, have another case than is usual.
fn odd_letters(key: &str) -> Vec<bool> {
    let is_trackers = key.split_once('-').is_some_and(|(identifier, number)| {
        is_word(identifier) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    let letters = key.bytes().filter(u8::is_ascii_alphabetic);
    letters.map(|letter| letter.is_ascii_uppercase() != is_trackers).collect()
}

/// Four of them in each digit, the last one filled up.
fn digits(bits: &[bool]) -> String {
    let value =
        |four: &[bool]| (0..4).fold(0, |value, at| value * 2 + u32::from(four.get(at) == Some(&true)));
    bits.chunks(4).filter_map(|four| char::from_digit(value(four), 16)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::hostile_keys;
    use super::*;

    /// No two names are one, or one a folder of the other, whatever the case of their letters.
    fn check_apart(one: &str, other: &str) {
        let [a, b] = [one, other].map(|key| branch(key).to_ascii_lowercase());
        assert!(a != b, "{one:?} {other:?}: {a}");
        assert!(
            !a.starts_with(&format!("{b}/")) && !b.starts_with(&format!("{a}/")),
            "{one:?} {other:?}: {a} {b}"
        );
    }

    #[test]
    fn what_is_odd_in_a_key_is_written_out() {
        for (key, name) in [
            ("SHOP-12", "SHOP-12"),
            ("acme/shop#12", "acme/shop#12"),
            ("acme/shop@feature/x", "acme+2fshop@feature+2fx"),
            ("acme-corp/shop#12", "acme-corp+2fshop#12"),
            ("acme", "acme++"),
            ("", "++"),
            ("shop-12", "shop-12++f"),
            ("Shop-12", "Shop-12++7"),
            ("acme/Shop#12", "acme/Shop#12++08"),
            ("fix login", "fix+20login"),
            ("a+b", "a+2bb"),
            ("x.lock", "x+2elock"),
            ("../../etc", "+2e+2e+2f+2e+2e+2fetc"),
            ("-x", "+2dx"),
        ] {
            assert_eq!(branch(key), format!("orch/{name}"), "{key:?}");
        }
    }

    #[test]
    fn what_a_branch_says_is_read_back_and_nothing_is_read_into_it() {
        for key in hostile_keys() {
            let found = key_of_branch(&branch(&key));
            let told =
                !key.is_empty() && text::line(&key, KEY_BYTES_MAX) == key && key.len() <= KEY_BYTES_MAX;
            assert_eq!(found, told.then_some(key.clone()), "{key:?}");
        }
        for nobodys in [
            "main",
            "orch/",
            "orch/$(id)",
            "orch/a b",
            "orch/a+b",
            "orch/a+4",
            "orch/a+41",
            "orch/SHOP-12++0",
            "orch/shop-12++e",
            "orch/a+0a",
            "orch/a+ff",
            "orch/+x00",
            "orch/shop+2d12",
            "orch/+",
            "orch/+++",
            "orch/a+2Fb",
        ] {
            assert_eq!(key_of_branch(nobodys), None, "{nobodys}");
        }
    }

    #[test]
    fn a_word_and_what_lies_below_it_are_two_branches() {
        let keys = [
            "acme",
            "acme/shop",
            "acme/shop#1",
            "ACME",
            "Acme/shop#1",
            "acme/shop#1/x",
            "acme/SHOP#1",
            "SHOP-1",
            "shop-1",
            "Shop-1",
            "SHOP-1/x",
            "shop-1/x",
            "acme/shop@a",
            "acme/shop@A",
            "acme/shop@a/b",
            "a.lock",
            "a",
            "a/b",
            "a/b/c",
            "a-b/c",
            "a-b",
        ];
        for (at, one) in keys.iter().enumerate() {
            keys[at + 1..].iter().for_each(|other| check_apart(one, other));
        }
    }

    proptest! {
        #[test]
        fn any_two_keys_have_branches_of_their_own(
            one in "[aAbB1/.#@+ -]{0,6}|\\PC{0,12}|[a-cA-C]{1,3}/[a-cA-C]{1,3}(#1)?",
            other in "[aAbB1/.#@+ -]{0,6}|\\PC{0,12}|[a-cA-C]{1,3}/[a-cA-C]{1,3}(#1)?",
            long in "[aA/]{95,130}",
        ) {
            for key in [&one, &other, &long] {
                let name = branch(key);
                prop_assert!(is_ref_safe(&name) && name.len() <= 120, "{name}");
                let back = key_of_branch(&name);
                prop_assert!(back.is_none() || back.as_ref() == Some(key), "{key:?} {name} {back:?}");
            }
            if one != other {
                check_apart(&one, &other);
            }
            check_apart(&long, &one);
            let swapped: String = one.chars().map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect();
            if swapped != one {
                check_apart(&one, &swapped);
            }
        }

        #[test]
        fn a_key_without_blanks_at_its_ends_is_read_back(key in "[a-zA-Z0-9#@/._+ -]{1,30}") {
            prop_assume!(text::line(&key, KEY_BYTES_MAX) == key);
            prop_assert_eq!(key_of_branch(&branch(&key)), Some(key));
        }
    }
}
