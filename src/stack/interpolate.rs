//! Variables filled in as compose does it.
