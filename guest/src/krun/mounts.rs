//! The mounts: in the initrd, and around the workload.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_move, mount_remount, unmount},
    process::{chdir, chroot},
};

use crate::failure::Failure;

/// Where the disk is mounted before it becomes the root.
const NEW_ROOT: &str = "/newroot";

/// Flags of what holds neither programs nor devices.
const PLAIN: MountFlags = MountFlags::NODEV.union(MountFlags::NOEXEC).union(MountFlags::NOSUID);

/// The character devices of the workload, with the permissions that they have everywhere.
///
/// /dev/sev-guest is not among them, and devtmpfs, where the kernel puts it, is not mounted for the workload.
const DEVICES: [(&str, u32, u32, u32); 7] = [
    ("/dev/null", 0o666, 1, 3),
    ("/dev/zero", 0o666, 1, 5),
    ("/dev/full", 0o666, 1, 7),
    ("/dev/random", 0o666, 1, 8),
    ("/dev/urandom", 0o666, 1, 9),
    ("/dev/tty", 0o666, 5, 0),
    ("/dev/console", 0o600, 5, 1),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// Mounts what this program needs to look at itself and to open the disk.
pub(super) fn early() -> Result<(), Failure> {
    file_system("proc", "/proc", PLAIN, "")?;
    // The host types on the console. SysRq would let it end processes, or show their registers.
    fs::write("/proc/sys/kernel/sysrq", "0").map_err(|error| Failure::doing("SysRq", error))?;
    file_system("sysfs", "/sys", PLAIN, "")?;
    file_system("devtmpfs", "/dev", MountFlags::NOEXEC | MountFlags::NOSUID, "")?;
    file_system("tmpfs", "/run", PLAIN, "mode=0755")?;
    // Kernels without it have /dev/sev-guest alone.
    if Path::new("/sys/kernel/config").exists() {
        file_system("configfs", "/sys/kernel/config", PLAIN, "")?;
    }
    Ok(())
}

/// Makes the opened disk the root, and takes away what the initrd had: the devices first of all.
pub(super) fn enter(disk: &str) -> Result<(), Failure> {
    let device = format!("/dev/mapper/{disk}");
    // Devices that the image brings along are none.
    mount(&device, NEW_ROOT, "ext4", MountFlags::NODEV, c"").map_err(|error| failed(&device, error))?;
    for place in ["/dev", "/sys/kernel/config", "/sys", "/run", "/proc"] {
        match unmount(place, UnmountFlags::DETACH) {
            // Not every kernel has configfs.
            Err(error) if ![Errno::INVAL, Errno::NOENT].contains(&error) => return Err(failed(place, error)),
            _ => {}
        }
    }
    // Its memory is the workload's.
    for file in ["/init", "/etc", "/sbin", "/lib", "/lib64", "/usr"] {
        let path = Path::new(file);
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
    chdir(NEW_ROOT).map_err(|error| failed(NEW_ROOT, error))?;
    mount_move(".", "/").map_err(|error| failed("/", error))?;
    chroot(".").and_then(|()| chdir("/")).map_err(|error| failed("/", error))
}

/// Mounts what a container has around it.
pub(super) fn system() -> Result<(), Failure> {
    file_system("proc", "/proc", PLAIN, "")?;
    file_system("sysfs", "/sys", PLAIN | MountFlags::RDONLY, "")?;
    file_system("cgroup2", "/sys/fs/cgroup", PLAIN, "")?;
    file_system("tmpfs", "/dev", MountFlags::NOEXEC | MountFlags::NOSUID, "mode=0755")?;
    for (path, permissions, major, minor) in DEVICES {
        let mode = Mode::from_raw_mode(permissions);
        mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(major, minor))
            .map_err(|error| failed(path, error))?;
    }
    for (target, link) in LINKS {
        symlink(target, link).map_err(|error| Failure::doing(link, error))?;
    }
    file_system("devpts", "/dev/pts", MountFlags::NOEXEC | MountFlags::NOSUID, "ptmxmode=0666,mode=0620")?;
    file_system("tmpfs", "/dev/shm", PLAIN, "mode=1777")?;
    // The kernel starts programs that these name, with all privileges.
    for path in ["/proc/sys", "/proc/sysrq-trigger"] {
        if Path::new(path).exists() {
            mount_bind(path, path)
                .and_then(|()| mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | PLAIN, ""))
                .map_err(|error| failed(path, error))?;
        }
    }
    Ok(())
}

/// Mounts a file system, and makes the place if it is missing. One that is mounted there already stays.
fn file_system(kind: &str, place: &str, flags: MountFlags, data: &str) -> Result<(), Failure> {
    match fs::create_dir(place) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Failure::doing(place, error));
        }
        _ => {}
    }
    let data = std::ffi::CString::new(data).unwrap_or_default();
    match mount(kind, place, kind, flags, data.as_c_str()) {
        Err(error) if error != Errno::BUSY => Err(failed(place, error)),
        _ => Ok(()),
    }
}

fn failed(place: &str, error: Errno) -> Failure {
    Failure::doing(place, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workload_has_no_device_to_attest_with() {
        // 1 is memory, of which /dev/mem and /dev/kmem are 1 and 2, and 5 is terminals. /dev/sev-guest is a
        // misc device: 10.
        for (path, _, major, minor) in DEVICES {
            assert!(major == 1 && ![1, 2, 4].contains(&minor) || major == 5, "{path}");
        }
    }
}
