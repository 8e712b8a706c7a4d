//! The built programs as processes, against each other and against faults.

mod fake_claude;
