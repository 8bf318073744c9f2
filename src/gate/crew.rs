//! The gate's threads, one for each place. A few are there before the gate opens; the others join while those serve already, because
//! starting all takes longer than everything before.

use std::io;
use std::sync::Arc;
use std::thread;

use super::allowed::Memory;
use super::{Inside, attend};
use crate::limits;

/// Starts threads until there are so many, each with a place more.
///
/// # Errors
/// The system gives no more, or too little would be left for others that are started later.
pub(super) fn hire(inside: &Arc<Inside>, wanted: usize) -> io::Result<()> {
    let memory = Memory::own();
    while inside.slots.places() < wanted {
        if !memory.has(0) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let attending = Arc::clone(inside);
        let name = format!("gate-{}", inside.slots.places());
        start(&name, move || attend(&attending))?;
        inside.slots.add_place();
    }
    Ok(())
}

/// Starts a thread that needs as little as those that serve.
///
/// # Errors
/// The system gives none.
pub(super) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(limits::CONNECTION_STACK)
        .spawn(work)
        .map(drop)
}
