/// A view of an environment. This library reads none by itself: whoever calls it hands one in.
///
/// Closures are views: `|name: &str| std::env::var(name).ok()` is the process's own.
pub trait Env {
    /// The value of a variable; `None` if it is not set.
    fn var(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Env for F {
    fn var(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// The environment without variables.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEnv;

impl Env for NoEnv {
    fn var(&self, _name: &str) -> Option<String> {
        None
    }
}

/// A variable that is set to something.
pub(crate) fn non_empty(env: &dyn Env, name: &str) -> Option<String> {
    env.var(name).filter(|value| !value.is_empty())
}
