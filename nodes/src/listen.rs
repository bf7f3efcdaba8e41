//! Listening, with errors that say what to do.

use std::io::ErrorKind;
use std::net::IpAddr;

use hotfire_net::rt::TcpListener;

use crate::Failure;

/// Binds `port` on `ip`; `flag` is the word of the command line that chooses another port.
pub async fn listen(ip: IpAddr, port: u16, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind((ip, port)).await.map_err(|why| {
        Failure::new(match why.kind() {
            ErrorKind::AddrInUse => format!(
                "port {port} on {ip} is in use by another process; choose another with {flag}"
            ),
            ErrorKind::AddrNotAvailable => format!("{ip} is not an address of this machine"),
            ErrorKind::PermissionDenied => {
                format!("port {port} on {ip} needs a privilege; choose one above 1023 with {flag}")
            }
            _ => format!("cannot listen on port {port} of {ip}: {why}"),
        })
    })
}
