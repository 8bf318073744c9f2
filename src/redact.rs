//! Foreign text made fit to be shown.
