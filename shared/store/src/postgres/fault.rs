//! What PostgreSQL's failures mean for the caller: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

use crate::sql::fault::FaultKind;

/// Tells what an SQLSTATE asks of the caller.
pub(crate) fn kind_of(code: &str) -> FaultKind {
    match code {
        // A serialization failure or a deadlock: somebody else went first.
        "40001" | "40P01" => FaultKind::Again,
        // lock_timeout and statement_timeout.
        "55P03" | "57014" => FaultKind::Locked,
        // A server that was failed over from, say.
        "25006" => FaultKind::ReadsOnly,
        "25P03" => FaultKind::Broken,
        _ => match code.get(..2) {
            Some("53") => FaultKind::Full,
            Some("08" | "57" | "58" | "28" | "3D" | "F0" | "XX") | None => FaultKind::Broken,
            Some(_) => FaultKind::Refused,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_to_do() {
        for (code, kind) in [
            ("40001", FaultKind::Again),
            ("40P01", FaultKind::Again),
            ("55P03", FaultKind::Locked),
            ("57014", FaultKind::Locked),
            ("53100", FaultKind::Full),
            ("53300", FaultKind::Full),
            ("57P01", FaultKind::Broken),
            ("57P03", FaultKind::Broken),
            ("25006", FaultKind::ReadsOnly),
            ("25P03", FaultKind::Broken),
            ("08006", FaultKind::Broken),
            ("23514", FaultKind::Refused),
            ("23505", FaultKind::Refused),
            ("22P02", FaultKind::Refused),
            ("42P01", FaultKind::Refused),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }
}
