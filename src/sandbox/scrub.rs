//! Takes the environment out of `/proc/PID/environ`, where every process of the same user could read it.
//!
//! The kernel shows there what exec was given, whatever the process does afterwards. So the program executes itself once more with
//! an environment that holds one number: a sealed memory file with the true one.

use super::SandboxError;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The only variable of the second execution: the number of the memory file.
pub const VARIABLE: &str = "LONGSHORE_SEALED_ENVIRONMENT";

/// The environment's values, in their order.
pub type Environment = Vec<(OsString, OsString)>;

/// Returns the environment that was carried over, if this is the second execution.
///
/// `variables` is the process's environment as it stands. `None` means that the first execution is still going on
/// and [`reexec_with_clean_environment`] is due. A number that does not name a memory file sealed by us is ignored.
pub fn take_environment(variables: &Environment) -> Result<Option<Environment>, SandboxError> {
    let [(name, value)] = variables.as_slice() else {
        return Ok(None);
    };
    let Some(number) = value
        .to_str()
        .and_then(|value| value.parse().ok())
        .filter(|_| name == VARIABLE)
    else {
        return Ok(None);
    };
    let Ok(memory) = crate::sys::descriptors::take_sealed_memory(number) else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let mut file = File::from(memory);
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .map_err(|source| SandboxError::system("read the sealed environment", source))?;
    Ok(Some(decode(&bytes)))
}

/// Executes this program again with the same arguments (`argv`, its first element included) and an environment that
/// names nothing but the memory file. Returns only on failure. The process id stays the same.
pub fn reexec_with_clean_environment(
    argv: &[OsString],
    variables: &Environment,
) -> Result<Infallible, SandboxError> {
    // No MFD_CLOEXEC: the descriptor has to survive the exec.
    let memory = memfd_create("environment", MemfdFlags::ALLOW_SEALING)
        .map_err(|source| SandboxError::system("make a memory file for the environment", source))?;
    let mut file = File::from(memory);
    file.write_all(&encode(variables))
        .map_err(|source| SandboxError::system("write the sealed environment", source))?;
    fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )
    .map_err(|source| SandboxError::system("seal the environment", source))?;
    let mut command = Command::new("/proc/self/exe");
    command
        .env_clear()
        .env(VARIABLE, file.as_raw_fd().to_string());
    if let Some((name, arguments)) = argv.split_first() {
        command.arg0(name).args(arguments);
    }
    Err(SandboxError::path(
        "execute",
        "/proc/self/exe",
        command.exec(),
    ))
}

/// `NAME=value` pairs, each ended by a zero byte, as exec itself has them.
fn encode(variables: &Environment) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in variables {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'=');
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
    }
    bytes
}

fn decode(bytes: &[u8]) -> Environment {
    let pair = |pair: &[u8]| {
        // A name may begin with `=` (Windows heritage), as the standard library has it.
        let equals = pair.iter().skip(1).position(|&byte| byte == b'=')? + 1;
        Some((
            OsStr::from_bytes(&pair[..equals]).to_owned(),
            OsString::from_vec(pair[equals + 1..].to_vec()),
        ))
    };
    bytes.split(|&byte| byte == 0).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_environment_survives() {
        let variables: Environment = [
            (&b"A"[..], &b"1"[..]),
            (b"EMPTY", b""),
            (b"EQUALS", b"a=b=c"),
            (b"LINES", b"a\nb"),
            (b"BYTES\xff", b"\xfe\x80"),
            (b"=odd", b"x"),
        ]
        .into_iter()
        .map(|(name, value)| {
            (
                OsString::from_vec(name.to_vec()),
                OsString::from_vec(value.to_vec()),
            )
        })
        .collect();
        assert_eq!(decode(&encode(&variables)), variables);
    }

    #[test]
    fn a_number_of_somebody_else_is_ignored() {
        let own = |value: &str| vec![(OsString::from(VARIABLE), OsString::from(value))];
        for value in ["", "x", "0", "2", "4000000", "-1"] {
            assert!(
                take_environment(&own(value)).unwrap().is_none(),
                "{value:?}"
            );
        }
        let mut more = own("3");
        more.push(("HOME".into(), "/root".into()));
        assert!(take_environment(&more).unwrap().is_none());
    }
}
