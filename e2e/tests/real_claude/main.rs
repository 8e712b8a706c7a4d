//! The pinned real `claude` CLI with a made-up credential against the stub of the Messages API.

mod pipeline;
mod shapes;
mod stack;
mod worktree;
