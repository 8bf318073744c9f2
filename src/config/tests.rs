//! Tests from file and variables to a configuration or its problems.

mod variables;
mod mistakes;
mod sections;
mod secret_files;
mod hooks;
mod example;
mod damage;
mod shown;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{ConfigScope, Loaded, Problems, ProcessEnv, load};

/// The smallest complete configuration.
const FIVE: &[(&str, &str)] = &[
    ("PORTAINER_URL", "http://portainer:9000"),
    ("PORTAINER_API_KEY", "ptr_0123456789abcdef"),
    ("PORTAINER_STACK_NAME", "app-stack"),
    ("PORTAINER_WEBHOOK_SECRET", "correct-horse-battery"),
    ("PORTAINER_ENVIRONMENT", "local"),
];

/// A temporary directory and the environment of a process.
struct Place {
    dir: PathBuf,
    variables: BTreeMap<String, OsString>,
}

impl Place {
    fn new() -> Place {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("stackhook-config-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let variables = BTreeMap::new();
        Place { dir, variables }
    }

    fn with(variables: &[(&str, &str)]) -> Place {
        let mut place = Place::new();
        for (name, value) in variables {
            place.set(name, value);
        }
        place
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.into());
    }

    /// Writes a file that only its owner can read.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        self.mode(name, 0o600);
        path
    }

    fn mode(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.dir.join(name), permissions).unwrap();
    }

    fn env(&self) -> ProcessEnv {
        ProcessEnv {
            variables: self.variables.clone(),
            working_dir: self.dir.clone(),
            system_file: self.dir.join("system.toml"),
            credential_store: self.dir.join("credstore"),
        }
    }

    fn load(&self, need: ConfigScope) -> Result<Loaded, Problems> {
        load(need, None::<&Path>, &self.env())
    }

    #[track_caller]
    fn loaded(&self, need: ConfigScope) -> Loaded {
        match self.load(need) {
            Ok(loaded) => loaded,
            Err(problems) => panic!("problems:\n{problems}"),
        }
    }

    /// The problems, one per line, with `DIR` for the directory.
    #[track_caller]
    fn problems(&self, need: ConfigScope) -> String {
        let problems = self.load(need).expect_err("problems were expected");
        self.plain(&problems.to_string())
    }

    fn plain(&self, text: &str) -> String {
        text.replace(&format!("{}", self.dir.display()), "DIR")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
