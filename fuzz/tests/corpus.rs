//! Every kept input, among them whatever was found once, is taken as it must be.

use fuzz::{TARGETS, corpus, engine};

#[test]
fn every_kept_input_is_taken() {
    for target in &TARGETS {
        let inputs = corpus::read(target.name).unwrap();
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        for (name, input) in inputs {
            if let Err(finding) = engine::try_one(target, &input) {
                panic!("{}/{name}: {}", target.name, finding.what);
            }
        }
    }
}
