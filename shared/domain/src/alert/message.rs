//! From alerts to the text of a message: a few are listed, many are told by group, with their number and the newest.

use std::fmt::Write as _;

use super::{Group, Notice};

/// The most UTF-16 units of one Telegram message (<https://core.telegram.org/bots/api#sendmessage>).
pub const MESSAGE_UNITS_MAX: usize = 4_096;
/// The most messages that one call of [`compose`] is split into.
pub const PARTS_MAX: usize = 3;
/// This many alerts are listed one by one.
const LISTED_MAX: usize = 5;

/// The text that tells all of `notices`, which are in the order they were raised; [`super::split`] makes messages of it.
pub fn compose(notices: &[Notice]) -> String {
    if notices.len() <= LISTED_MAX {
        let listed: Vec<String> = notices.iter().map(listed).collect();
        return listed.join("\n\n");
    }
    let mut groups: Vec<(Group, Vec<&Notice>)> = Vec::new();
    for notice in notices {
        let group = notice.alert.group();
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, members)) => members.push(notice),
            None => groups.push((group, vec![notice])),
        }
    }
    let total: u64 = notices.iter().map(Notice::count).sum();
    let mut text = format!("{total} alerts at once.");
    for (group, members) in &groups {
        let Some(newest) = members.last() else { continue };
        let count: u64 = members.iter().map(|notice| notice.count()).sum();
        let first_at = members.iter().map(|notice| notice.first_at()).min().unwrap_or(newest.at);
        let group = group.as_str();
        // Writing to a string does not fail.
        let _ = match count {
            1 => write!(text, "\n\n{group}: {}", newest.alert.text()),
            _ => write!(
                text,
                "\n\n{group}: {count} from {first_at} to {}, the newest: {}",
                newest.at,
                newest.alert.text()
            ),
        };
    }
    text
}

fn listed(notice: &Notice) -> String {
    let text = notice.alert.text();
    match notice.folded {
        None => text,
        Some(folded) => format!("{text}\n(and {} more of its kind since {})", folded.count, folded.first_at),
    }
}
