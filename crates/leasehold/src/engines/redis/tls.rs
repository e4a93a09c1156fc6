//! TLS for `rediss://`: rustls with the system's roots or one file of them, and nothing insecure.

use super::stream::Stream;
use crate::error::Error;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The roots of `ca`, or of the system.
///
/// # Errors
/// Config, if there are none.
pub(super) fn client_config(ca: Option<&str>) -> Result<Arc<ClientConfig>, Error> {
    let roots = match ca {
        Some(path) => roots_of_file(Path::new(path))?,
        None => roots_of_system()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Error::unsupported("this build has no TLS version to offer").caused_by(error))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn roots_of_file(path: &Path) -> Result<RootCertStore, Error> {
    let unreadable = |error| Error::config(format!("the certificates in {} cannot be read", path.display())).caused_by(error);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let added = roots.add(certificate.map_err(unreadable)?);
        added.map_err(|error| Error::config(format!("a certificate in {} cannot be used", path.display())).caused_by(error))?;
    }
    if roots.is_empty() {
        return Err(Error::config(format!("there is no certificate in {}", path.display())));
    }
    Ok(roots)
}

fn roots_of_system() -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    // A root that cannot be parsed is one that is not trusted.
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(Error::config("this system has no trusted certificates; name a file of them with ?ca="));
    }
    Ok(roots)
}

/// Shakes hands as a client of `host`.
///
/// # Errors
/// Those of the handshake; a name that no certificate can have.
pub(super) async fn handshake(host: &str, config: Arc<ClientConfig>, socket: TcpStream) -> io::Result<Box<dyn Stream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(config).connect(name, socket).await?))
}
