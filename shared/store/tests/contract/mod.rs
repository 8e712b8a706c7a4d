//! What every store must do, whatever it is made of: one function per rule, over an empty store.

pub(crate) mod accepting;
pub(crate) mod claiming;
pub(crate) mod moving;
pub(crate) mod reading;
pub(crate) mod values;
