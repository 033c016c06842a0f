use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Context;
use super::near::near;
use crate::ConnectArgs;
use crate::env::{Env, non_empty};
use crate::error::{ConnectError, ConnectErrorKind};

/// The directory in which the `nats` tool keeps contexts. It is only read: managing stays with `nats context`.
#[derive(Clone, Debug)]
pub struct ContextStore {
    root: PathBuf,
}

impl ContextStore {
    /// `$XDG_CONFIG_HOME/nats`, else `$HOME/.config/nats`, on macOS too.
    ///
    /// # Errors
    /// `Configuration` if neither variable is set.
    pub fn of(env: &dyn Env) -> Result<Self, ConnectError> {
        let config = non_empty(env, "XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let config =
            config.or_else(|| non_empty(env, "HOME").map(|home| PathBuf::from(home).join(".config")));
        config.map(|config| Self::at(config.join("nats"))).ok_or_else(|| {
            let text = "contexts: neither XDG_CONFIG_HOME nor HOME is set";
            ConnectError::new(ConnectErrorKind::Configuration, text)
        })
    }

    /// That directory, which holds `context.txt` and `context/`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The name in `context.txt`.
    ///
    /// # Errors
    /// `Configuration` if the file cannot be read.
    pub fn selected(&self) -> Result<Option<String>, ConnectError> {
        let path = self.root.join("context.txt");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|name| !name.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let text = format!("`{}` cannot be read", path.display());
                Err(ConnectError::new(ConnectErrorKind::Configuration, text).with_source(error))
            }
        }
    }

    /// The names of all contexts, sorted.
    ///
    /// # Errors
    /// `Configuration` if the directory cannot be read; one that is not there has no contexts.
    pub fn list(&self) -> Result<Vec<String>, ConnectError> {
        let directory = self.root.join("context");
        let fail = |error: io::Error| {
            let text = format!("`{}` cannot be read", directory.display());
            ConnectError::new(ConnectErrorKind::Configuration, text).with_source(error)
        };
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fail(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(fail)?.file_name();
            if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".json"))
                && is_name(name)
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The context of that name.
    ///
    /// # Errors
    /// `ContextNotFound` with near names; `Configuration` if the name or the file is none.
    pub fn load(&self, name: &str) -> Result<Context, ConnectError> {
        if !is_name(name) {
            let text = format!("`{name}` is no context name: not empty, without `..`, `/` and `\\`");
            return Err(ConnectError::new(ConnectErrorKind::Configuration, text));
        }
        let path = self.root.join("context").join(format!("{name}.json"));
        if path.exists() {
            return Context::load_file(path);
        }
        let near = near(name, &self.list()?);
        let hint = match near.as_slice() {
            [] => "see `nats context ls`".to_owned(),
            names => format!("did you mean `{}`?", names.join("` or `")),
        };
        let text = format!("`{name}` in `{}`, {hint}", self.root.join("context").display());
        Err(ConnectError::new(ConnectErrorKind::ContextNotFound, text))
    }

    /// The context that flags and environment ask for: `--no-context`, else `--context`, else `NATS_CONTEXT`, else
    /// the selected one, else none. A value that ends in `.json` and exists, or holds a `/`, is a file.
    ///
    /// # Errors
    /// As [`load`](Self::load): one that is named or selected and missing is an error, never "none".
    pub fn choose(args: &ConnectArgs, env: &dyn Env) -> Result<Option<Context>, ConnectError> {
        if args.no_context {
            return Ok(None);
        }
        let named = args.context.clone().filter(|name| !name.is_empty());
        let Some(named) = named.or_else(|| non_empty(env, "NATS_CONTEXT")) else {
            // Without a home there is no selection either.
            let Ok(store) = Self::of(env) else { return Ok(None) };
            return store.selected()?.map(|name| store.load(&name)).transpose();
        };
        if named.ends_with(".json") && (named.contains('/') || Path::new(&named).exists()) {
            return Context::load_file(named).map(Some);
        }
        Self::of(env)?.load(&named).map(Some)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains("..") && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    struct Home(TempDir);

    impl Home {
        fn with(contexts: &[&str], selected: Option<&str>) -> Self {
            let home = Self(tempfile::tempdir().unwrap());
            let directory = home.0.path().join("nats/context");
            fs::create_dir_all(&directory).unwrap();
            for name in contexts {
                fs::write(directory.join(format!("{name}.json")), r#"{"url":"nats://h"}"#).unwrap();
            }
            if let Some(selected) = selected {
                fs::write(home.0.path().join("nats/context.txt"), format!(" {selected}\n")).unwrap();
            }
            home
        }

        fn env(&self, context: Option<&str>) -> impl Env {
            let home = self.0.path().to_str().unwrap().to_owned();
            let context = context.map(str::to_owned);
            move |name: &str| match name {
                "XDG_CONFIG_HOME" => Some(home.clone()),
                "NATS_CONTEXT" => context.clone(),
                _ => None,
            }
        }
    }

    fn changed(change: impl FnOnce(&mut ConnectArgs)) -> ConnectArgs {
        let mut args = ConnectArgs::default();
        change(&mut args);
        args
    }

    fn args(context: Option<&str>) -> ConnectArgs {
        changed(|args| args.context = context.map(str::to_owned))
    }

    fn chosen(args: &ConnectArgs, env: &dyn Env) -> Option<String> {
        ContextStore::choose(args, env).unwrap().map(|context| context.name)
    }

    #[test]
    fn the_root_is_xdg_or_below_home() {
        let root = |vars: &'static [(&str, &str)]| {
            let env = move |name: &str| {
                vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            ContextStore::of(&env).map(|store| store.root().to_owned())
        };
        assert_eq!(root(&[("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")]).unwrap(), Path::new("/x/nats"));
        assert_eq!(root(&[("HOME", "/h")]).unwrap(), Path::new("/h/.config/nats"));
        assert_eq!(root(&[("XDG_CONFIG_HOME", ""), ("HOME", "/h")]).unwrap(), Path::new("/h/.config/nats"));
        assert_eq!(root(&[]).unwrap_err().kind(), ConnectErrorKind::Configuration);
    }

    #[test]
    fn flag_beats_environment_beats_selection() {
        let home = Home::with(&["a", "b", "c"], Some("c"));
        assert_eq!(chosen(&args(Some("a")), &home.env(Some("b"))).as_deref(), Some("a"));
        assert_eq!(chosen(&args(None), &home.env(Some("b"))).as_deref(), Some("b"));
        assert_eq!(chosen(&args(None), &home.env(None)).as_deref(), Some("c"));
        assert_eq!(chosen(&args(None), &home.env(Some(""))).as_deref(), Some("c"));
        let mut none = args(Some("a"));
        none.no_context = true;
        assert_eq!(chosen(&none, &home.env(Some("b"))), None);
        assert_eq!(chosen(&args(None), &Home::with(&["a"], None).env(None)), None);
    }

    #[test]
    fn a_missing_context_is_an_error_however_it_was_named() {
        let home = Home::with(&["prod", "local"], Some("gone"));
        for (args, env) in [
            (args(Some("prdo")), home.env(None)),
            (args(None), home.env(Some("prdo"))),
            (args(None), home.env(None)),
        ] {
            let error = ContextStore::choose(&args, &env).unwrap_err();
            assert_eq!(error.kind(), ConnectErrorKind::ContextNotFound);
        }
        let error = ContextStore::choose(&args(Some("prdo")), &home.env(None)).unwrap_err();
        assert!(error.to_string().contains("did you mean `prod`?"), "{error}");
    }

    #[test]
    fn a_file_that_exists_is_taken_as_it_is() {
        let home = Home::with(&[], None);
        let file = home.0.path().join("mine.json");
        fs::write(&file, "{}").unwrap();
        let args = args(file.to_str());
        assert_eq!(chosen(&args, &home.env(None)).as_deref(), Some("mine"));
        fs::remove_file(&file).unwrap();
        let error = ContextStore::choose(&args, &home.env(None)).unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::ContextNotFound);
    }

    #[test]
    fn names_stay_inside_the_directory() {
        let home = Home::with(&["a"], None);
        let store = ContextStore::of(&home.env(None)).unwrap();
        for name in ["", "..", "../a", "x/y", "x\\y", "a..b"] {
            assert_eq!(store.load(name).unwrap_err().kind(), ConnectErrorKind::Configuration, "{name}");
        }
        assert_eq!(store.list().unwrap(), ["a"]);
    }
}
