//! Maps and sets of what an iterator yields. Where `collect` sorts it all first, with a sort routine for each type of some five
//! kilobytes of program, here one after the other is put in: nothing that is gathered has more than some hundred entries.

use std::collections::{BTreeMap, BTreeSet};

/// Of several values for a key the last one stays.
pub(crate) fn map<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(entries);
    map
}

/// What comes again is there once.
pub(crate) fn set<T: Ord>(values: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(values);
    set
}
