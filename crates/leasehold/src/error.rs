//! One error type; its kinds say what the caller can do.

use leasehold_core::{NameError, PolicyError, ResourceName, Trouble};
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// What went wrong, with which resource, on which engine.
///
/// "Held by another" is never an error: see [`Mutex::try_acquire`](crate::Mutex::try_acquire).
#[derive(Clone, Debug)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    engine: Option<&'static str>,
    resource: Option<ResourceName>,
    outcome_unknown: bool,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The name, the policy, the URL, or something in the store must be changed first.
    Config,
    /// The lease ended without a release: stop the work that it protected.
    Lost,
    /// The store refuses this user.
    Permission,
    /// The store does not answer, or cannot at present: try again later.
    Unavailable,
    /// The store or this build cannot do that.
    Unsupported,
}

impl Error {
    /// An error of this kind. `message` is lower case, has no full stop, no source's text and no secret.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            inner: Arc::new(Inner {
                kind,
                message: message.into(),
                engine: None,
                resource: None,
                outcome_unknown: false,
                source: None,
            }),
        }
    }

    /// Shorthand for [`ErrorKind::Config`].
    pub fn config(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Config, message)
    }

    /// Shorthand for [`ErrorKind::Permission`].
    pub fn permission(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Permission, message)
    }

    /// Shorthand for [`ErrorKind::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unavailable, message)
    }

    /// Shorthand for [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unsupported, message)
    }

    /// Shorthand for [`ErrorKind::Lost`].
    pub fn lost(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Lost, message)
    }

    /// Names the engine that it happened on.
    pub fn on(mut self, engine: &'static str) -> Error {
        Arc::make_mut(&mut self.inner).engine = Some(engine);
        self
    }

    /// Names the resource that it happened to.
    pub fn about(mut self, resource: &ResourceName) -> Error {
        Arc::make_mut(&mut self.inner).resource = Some(resource.clone());
        self
    }

    /// Says that the store may have acted.
    pub fn maybe_done(mut self) -> Error {
        Arc::make_mut(&mut self.inner).outcome_unknown = true;
        self
    }

    /// Keeps what caused it; its text must hold no secret.
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Error {
        Arc::make_mut(&mut self.inner).source = Some(Arc::new(source));
        self
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The resource, if it is about one.
    pub fn resource(&self) -> Option<&ResourceName> {
        self.inner.resource.as_ref()
    }

    /// The engine's name, if it happened on one.
    pub fn engine(&self) -> Option<&'static str> {
        self.inner.engine
    }

    /// True where the store may have acted all the same.
    pub fn outcome_unknown(&self) -> bool {
        self.inner.outcome_unknown
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(engine) = self.inner.engine {
            write!(f, "{engine}: ")?;
        }
        f.write_str(&self.inner.message)?;
        if let Some(resource) = &self.inner.resource {
            write!(f, " (resource {resource:?})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

impl Trouble for Error {
    fn is_permanent(&self) -> bool {
        !matches!(self.kind(), ErrorKind::Unavailable)
    }

    fn outcome_unknown(&self) -> bool {
        self.inner.outcome_unknown
    }

    fn unanswered() -> Error {
        Error::unavailable("the store did not answer in time").maybe_done()
    }
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Error {
        Error::config(error.to_string())
    }
}

impl From<PolicyError> for Error {
    fn from(error: PolicyError) -> Error {
        Error::config(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_and_to_which_resource() {
        let name = ResourceName::new("order:1:pay").unwrap();
        let error = Error::unavailable("the store did not answer in time").on("redis").about(&name).maybe_done();
        assert_eq!(error.to_string(), "redis: the store did not answer in time (resource \"order:1:pay\")");
        assert!(error.outcome_unknown());
        assert!(!error.is_permanent());
    }
}
