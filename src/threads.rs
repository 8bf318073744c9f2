//! Threads that have a name. All are started here, so that what the standard library does for that is there once, not for each of
//! the things that threads do.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread.
///
/// # Errors
/// The system gives none.
pub(crate) fn start(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    spawn(Builder::new().name(name.to_owned()), Box::new(work))
}

/// Starts a thread with a stack of so many bytes.
///
/// # Errors
/// The system gives none.
pub(crate) fn start_with_stack(
    name: &str,
    stack: usize,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let builder = Builder::new().name(name.to_owned()).stack_size(stack);
    spawn(builder, Box::new(work))
}

fn spawn(builder: Builder, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    builder.spawn(work)
}
