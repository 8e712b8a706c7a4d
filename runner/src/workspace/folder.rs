//! Which folders belong to a work item: a path that no key can lead out of, and no two keys share, also where a file system does
//! not tell letters of both cases apart.

use std::path::{Path, PathBuf};

use domain::Account;
use domain::workspace::has_usual_case;
use sha2::{Digest as _, Sha256};

/// The most of a name that stays readable.
const READABLE_BYTES_MAX: usize = 64;
/// Hexadecimal digits of the hash behind a name that was altered.
const HASH_DIGITS: usize = 32;

/// `<root>/<first>/<second>`, each part encoded.
pub(crate) fn folder(root: &Path, first: &str, second: &str) -> PathBuf {
    root.join(encode(first)).join(encode(second))
}

/// The HOME of an account's agents for one work item: sessions live there, and two agents never share one.
pub(crate) fn home(state: &Path, account: &Account, project: &str, work_item: &str) -> PathBuf {
    folder(&state.join("homes").join(encode(&account.0)), project, work_item)
}

/// A file name for `key`: the key itself where it is a plain one, else a readable part and a hash, with a `~`
/// between them that no plain key has.
pub(super) fn encode(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_plain = !key.is_empty()
        && !key.starts_with(['.', '-'])
        && key.len() <= READABLE_BYTES_MAX
        && key.bytes().all(plain)
        && has_usual_case(key);
    if is_plain {
        return key.to_owned();
    }
    let mut name: String = key
        .bytes()
        .take(READABLE_BYTES_MAX)
        .map(|byte| if plain(byte) { char::from(byte) } else { '_' })
        .collect();
    // Neither hidden nor taken for an option.
    if name.starts_with(['.', '-']) {
        name.replace_range(..1, "_");
    }
    let hash = hex::encode(Sha256::digest(key.as_bytes()));
    format!("{name}~{}", &hash[..HASH_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_keys_stay_as_they_are() {
        assert_eq!(folder(Path::new("/w"), "shop", "SHOP-12"), Path::new("/w/shop/SHOP-12"));
    }

    #[test]
    fn no_key_leads_out_and_no_two_keys_meet() {
        let long = "x".repeat(5000);
        let keys = [
            "..",
            ".",
            "",
            "/",
            "a/b",
            "a_b",
            "a/../b",
            "../../etc/passwd",
            "a\0b",
            "a#b",
            "-x",
            "--upload-pack=x",
            "ä",
            "~",
            &long,
            &long[1..],
            "SHOP-1",
            "shop-1",
            "Shop-1",
            "acme",
            "Acme",
            "acme/shop",
            "Acme/shop",
        ];
        let names: Vec<String> = keys.iter().map(|key| encode(key)).collect();
        for name in &names {
            let safe = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
            assert!(safe && !name.starts_with(['.', '-']) && !name.is_empty() && name.len() <= 128, "{name}");
        }
        let distinct: std::collections::BTreeSet<_> =
            names.iter().map(|name| name.to_ascii_lowercase()).collect();
        assert_eq!(distinct.len(), keys.len());
    }
    #[test]
    fn no_two_items_share_a_home() {
        let home =
            |project, work_item| home(Path::new("/s"), &Account("default".to_owned()), project, work_item);
        assert_eq!(home("shop", "SHOP-1"), Path::new("/s/homes/default/shop/SHOP-1"));
        assert_ne!(home("a/b", "c"), home("a", "b/c"));
    }
}
