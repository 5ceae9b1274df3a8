//! Control side: the socket of the service: its path, its permissions, and one that a service manager opened.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use handsfree::failure::Failure;

/// Variable that names the socket for service and clients.
pub const SOCKET_VARIABLE: &str = "HANDSFREE_SOCKET";
/// Socket of a service of the whole system.
const SYSTEM_SOCKET: &str = "/run/handsfree/socket";
/// Name of a user's socket in the folder that `XDG_RUNTIME_DIR` names.
const USER_SOCKET: &str = "handsfree.socket";
/// First descriptor that systemd passes.
const FIRST_PASSED: i32 = 3;

fn user_socket() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty())?;
    Some(Path::new(&folder).join(USER_SOCKET))
}

fn named_socket(asked: Option<&Path>) -> Option<PathBuf> {
    let variable = || std::env::var_os(SOCKET_VARIABLE).filter(|path: &OsString| !path.is_empty());
    asked.map(Path::to_owned).or_else(|| variable().map(PathBuf::from))
}

/// Returns the socket on which a service listens: the one asked for, that of `HANDSFREE_SOCKET`, the user's, or the
/// system's.
#[must_use]
pub fn service_path(asked: Option<&Path>) -> PathBuf {
    named_socket(asked).or_else(user_socket).unwrap_or_else(|| SYSTEM_SOCKET.into())
}

/// Returns the socket that a client connects to: as [`service_path`], but the system's if the user has none.
#[must_use]
pub fn client_path(asked: Option<&Path>) -> PathBuf {
    named_socket(asked)
        .or_else(|| user_socket().filter(|path| path.exists()))
        .unwrap_or_else(|| SYSTEM_SOCKET.into())
}

/// Listening socket, whose file is removed at the end unless a service manager opened it.
#[derive(Debug)]
pub struct ServiceSocket {
    /// The listening socket.
    pub listener: UnixListener,
    /// Path of the socket's file; `None` if a service manager opened it.
    pub path: Option<PathBuf>,
}

impl Drop for ServiceSocket {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // A file that is left behind is replaced by the next service.
            _ = fs::remove_file(path);
        }
    }
}

/// Permissions of a socket that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketAccess {
    /// Mode of the file: who may write to it may connect.
    pub mode: u32,
    /// Group of the file, by name or number; `None` keeps the process's.
    pub group: Option<String>,
}

/// Returns the socket that a service manager opened for this process, if it did (`LISTEN_PID`, `LISTEN_FDS`).
///
/// # Errors
/// Returns an error if the passed descriptor is no listening Unix socket, or if there is more than one.
pub fn passed_socket() -> Result<Option<ServiceSocket>, Failure> {
    let variable = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    let (Some(pid), Some(count)) = (variable("LISTEN_PID"), variable("LISTEN_FDS")) else { return Ok(None) };
    if pid != std::process::id() || count == 0 {
        return Ok(None);
    }
    let invalid = |found: String| Failure::run(format!("the socket of the service manager: {found}"));
    if count > 1 {
        return Err(invalid(format!("{count} were passed: expected one")));
    }
    let descriptor =
        handsfree_host::inherited::take(FIRST_PASSED).map_err(|error| invalid(error.to_string()))?;
    let listener = UnixListener::from(descriptor);
    listener.local_addr().map_err(|error| invalid(format!("is no Unix socket: {error}")))?;
    Ok(Some(ServiceSocket { listener, path: None }))
}

/// Makes the socket. It appears under its path only when its permissions are set, and replaces one that no service
/// listens on.
///
/// # Errors
/// Returns an error if another service listens there, and if the file cannot be made or given to the group.
pub fn bind(path: &Path, access: &SocketAccess) -> Result<ServiceSocket, Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Failure::run(format!("{}: {what}: {error}", path.display()))
    };
    if UnixStream::connect(path).is_ok() {
        return Err(Failure::run(format!(
            "{}: another service listens on this socket: expected none",
            path.display()
        )));
    }
    let group = access.group.as_deref().map(group_id).transpose()?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|error| failed("its folder cannot be made", &error))?;
    }
    // In a folder of its own, no client can connect before the permissions are set.
    let mut private = path.as_os_str().to_owned();
    private.push(format!(".{}", std::process::id()));
    let private = PathBuf::from(private);
    // What a killed process of the same number left behind.
    _ = fs::remove_dir_all(&private);
    let made = || -> io::Result<UnixListener> {
        fs::create_dir(&private)?;
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700))?;
        let socket = private.join("s");
        let listener = UnixListener::bind(&socket)?;
        if let Some(group) = group {
            chown(&socket, None, Some(group))?;
        }
        fs::set_permissions(&socket, fs::Permissions::from_mode(access.mode))?;
        fs::rename(&socket, path)?;
        Ok(listener)
    };
    let outcome = made();
    _ = fs::remove_dir_all(&private);
    let listener = outcome.map_err(|error| failed("the socket cannot be made", &error))?;
    Ok(ServiceSocket { listener, path: Some(path.to_owned()) })
}

/// Returns the number of a group, which is given by name or number.
fn group_id(group: &str) -> Result<u32, Failure> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(group)).then(|| fields.nth(1).and_then(|number| number.parse().ok()))?
        })
        .next()
        .ok_or_else(|| Failure::usage(format!("--group {group}: expected the name or number of a group")))
}

/// Parses the mode of a socket, such as 660.
///
/// # Errors
/// Returns an error that names the value.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|&mode| mode <= 0o777)
        .ok_or_else(|| format!("'{text}': expected an octal mode of a file, such as 660"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_its_mode_and_replaces_a_stale_one() {
        let path = std::env::temp_dir().join(format!("handsfree-socket-{}", std::process::id()));
        let access = SocketAccess { mode: 0o640, group: None };
        // A file without a listener, as a killed service leaves it.
        drop(UnixListener::bind(&path).unwrap());
        let socket = bind(&path, &access).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(UnixStream::connect(&path).is_ok());
        assert!(bind(&path, &access).unwrap_err().to_string().contains("another service"));
        drop(socket);
        assert!(!path.exists(), "the file is removed");
        assert!(bind(&path, &SocketAccess { group: Some("no such group".into()), ..access }).is_err());
    }

    #[test]
    fn groups_and_modes_are_parsed() {
        assert_eq!((group_id("root").unwrap(), group_id("77").unwrap()), (0, 77));
        assert_eq!(group_id("no-such-group").unwrap_err().code(), 2);
        assert_eq!((parse_mode("660"), parse_mode("0600")), (Ok(0o660), Ok(0o600)));
        assert!(parse_mode("9").is_err() && parse_mode("1777").is_err());
    }
}
