//! `[staff]`.

use super::leave;
use crate::config::problem::Place;
use crate::config::reading::{Reading, Taken};
use crate::config::values::Section;
use crate::config::{Staff, parse};
use crate::limits;

/// Who may see the settings page, if anybody.
pub(super) fn staff(read: bool, section: &mut Section, reading: &mut Reading<'_>) -> Option<Staff> {
    let Some(given) = section.written() else {
        reading.show("staff", "none", Place::Nowhere);
        return None;
    };
    let password = match read {
        true => reading.secret(section, "password", "staff.password"),
        false => leave(section, "password"),
    };
    let user = reading.setting(
        section,
        ("user", "staff.user"),
        ("staff".to_owned(), "staff"),
        |text| match text.contains(':') {
            true => Err("a user name of Basic auth contains no colon".to_owned()),
            false => parse::word(text),
        },
    );
    if password.is_absent() {
        reading.lost(
            &given,
            "staff",
            "has no password; set STACKHOOK_STAFF_PASSWORD or STACKHOOK_STAFF_PASSWORD_FILE (password or \
             password_file)",
        );
    }
    if let Taken::Good(password, place) = &password
        && password.len() < limits::STAFF_PASSWORD_MIN
    {
        let least = limits::STAFF_PASSWORD_MIN;
        let text = format!("is shorter than {least} bytes");
        reading.problem(place, "staff.password", text);
    }
    let password = password.good()?;
    Some(Staff { user, password })
}
