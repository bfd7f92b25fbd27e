//! Kernel, initrds and disks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    debian::{Copy, Debian, alone, must, short_digest},
    machine::{BOUND, Launch},
};

/// The passphrase of every disk.
pub const PASSPHRASE: &str = "five words of a passphrase";

/// The root in a disk says this when it is reached.
pub const INSIDE: &str = "inside the opened volume";

/// Every command line has this: the guest's plug-ins demand it of all makers of initrds. On a busy machine
/// QEMU without KVM is too late for the kernel's check of its timer, and the kernel would panic.
const COMMON: &str = "console=ttyS0 no_timer_check root=/dev/mapper/root systemd.import_credentials=no \
    systemd.gpt_auto=0 noresume efi=noruntime";

/// The archive with the drivers for krun's initrd.
const DRIVERS: &str = "drivers.img";

/// The command line of a machine whose initrd is krun's. `/drivers` becomes `/init`. The rest is for nobody:
/// what the host adds must not count.
pub const KRUN: &str = "console=ttyS0 no_timer_check quiet panic=-1 rdinit=/drivers init=/bin/sh FROM_THE_HOST=yes KRUN_INIT=/bin/sh \
    -- get passphrase --force";

/// How a disk is opened in an initrd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// The oneshot unit, in an initrd of dracut.
    Dracut,
    /// systemd-cryptsetup with keys from the guest's socket, in an initrd of dracut.
    Socket,
    /// The script, in an initrd of initramfs-tools.
    InitramfsTools,
}

impl Plugin {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Dracut, Self::Socket, Self::InitramfsTools];

    /// The file of its initrd.
    pub fn file(self) -> &'static str {
        match self {
            Self::Dracut => "dracut.img",
            Self::Socket => "socket.img",
            Self::InitramfsTools => "initramfs-tools.img",
        }
    }

    /// The command line that its initrd is built for.
    pub fn command_line(self) -> String {
        match self {
            Self::Dracut | Self::Socket => format!("{COMMON} rd.shell=0 rd.emergency=poweroff"),
            Self::InitramfsTools => format!("{COMMON} panic=10"),
        }
    }

    /// Makes the initrd in /out of a Debian with the guest.
    pub fn script(self) -> String {
        let out = format!("/out/{}", self.file());
        match self {
            Self::Dracut | Self::Socket => {
                format!("dracut --quiet --force {DRACUT} {out} $(ls /lib/modules)")
            }
            Self::InitramfsTools => format!("mkinitramfs -o {out} $(ls /lib/modules)"),
        }
    }

    fn crypttab(self) -> &'static str {
        match self {
            Self::Socket => {
                "root /dev/vda /run/keybroker/keys \
                 luks,header=/run/keybroker/root.header,headless=yes,x-initrd.attach\n"
            }
            Self::Dracut | Self::InitramfsTools => "",
        }
    }
}

/// Nothing of this machine, and no drivers but these: what the guest's module adds, the port of the simulated
/// processor, and the root's file system.
const DRACUT: &str = "--no-hostonly --gzip --drivers 'virtio_pci virtio_blk virtio_net virtio_console virtio_rng \
    dm_crypt xts ecb algif_skcipher af_packet qemu_fw_cfg configfs sev-guest ext4'";

/// The same for initramfs-tools.
const INITRAMFS_TOOLS: &str = "MODULES=list\nCOMPRESS=gzip\nBUSYBOX=y\n";

/// A disk of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// LUKS2 with a root in it.
    Root,
    /// The same root under the same passphrase, and another volume key.
    Other,
    /// LUKS1, as buildah makes one, without its trailer.
    Luks1,
}

impl Disk {
    const ALL: [Self; 3] = [Self::Root, Self::Other, Self::Luks1];

    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Other => "other",
            Self::Luks1 => "luks1",
        }
    }
}

/// Kernel, initrds and disks for machines.
#[derive(Debug)]
pub struct Images {
    disks: PathBuf,
    initrds: PathBuf,
}

impl Images {
    /// Makes, or finds, the images with the guest of the Debian package at `package`, kept below `cache`.
    pub fn get(cache: &Path, package: &Path) -> Self {
        let debian = Debian::get(cache);
        let _alone = alone(&debian.kept);
        let disks = debian
            .kept
            .join(format!("disks-{}", short_digest([MAKER, PASSPHRASE, INSIDE].concat().as_bytes())));
        if !disks.exists() {
            make(&disks, |new| make_disks(&debian, new));
        }
        let bytes = fs::read(package).expect("the guest's package");
        let recipe = [DRACUT, INITRAMFS_TOOLS, COMMON].concat();
        let digest = short_digest(&[bytes.as_slice(), recipe.as_bytes()].concat());
        let initrds = debian.kept.join(format!("initrds-{digest}"));
        if !initrds.exists() {
            make(&initrds, |new| make_initrds(&debian, package, new));
        }
        Self { disks, initrds }
    }

    /// The kernel.
    pub fn kernel(&self) -> PathBuf {
        self.disks.join("vmlinuz")
    }

    /// An initrd for krun, in a new directory, with the drivers in front that libkrun's kernel has built in.
    /// Its command line is [`KRUN`].
    pub fn with_drivers(&self, initrd: &Path) -> (TempDir, PathBuf) {
        let read = |path: &Path| fs::read(path).expect("an initrd");
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("krun.img");
        fs::write(&path, [read(&self.disks.join(DRIVERS)), read(initrd)].concat()).expect("a file");
        (directory, path)
    }

    /// The initrd with this plug-in.
    pub fn initrd(&self, plugin: Plugin) -> PathBuf {
        self.initrds.join(plugin.file())
    }

    /// The same with this init data document in it. The second is its place, below the first.
    pub fn with_document(&self, plugin: Plugin, document: &str) -> (TempDir, PathBuf) {
        let mut initrd = fs::read(self.initrd(plugin)).expect("an initrd");
        initrd.resize(initrd.len().next_multiple_of(4), 0);
        initrd.extend(archive("etc/keybroker/initdata.toml", document.as_bytes()));
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join(plugin.file());
        fs::write(&path, initrd).expect("a file");
        (directory, path)
    }

    /// A disk. It is not to be written to.
    pub fn disk(&self, disk: Disk) -> PathBuf {
        self.disks.join(format!("{}.img", disk.name()))
    }

    /// A machine with this plug-in and the disk [`Disk::Root`].
    pub fn launch(&self, plugin: Plugin) -> Launch {
        Launch {
            kernel: self.kernel(),
            initrd: self.initrd(plugin),
            command_line: plugin.command_line(),
            disks: vec![self.disk(Disk::Root)],
            ..Launch::default()
        }
    }
}

/// Fills a new directory, which gets its name when it is full. Earlier ones of its kind go.
fn make(directory: &Path, fill: impl FnOnce(&Path)) {
    let kind = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        name.split_once('-').map(|(kind, _)| kind.to_owned())
    };
    let beside = fs::read_dir(directory.parent().expect("a directory")).expect("a directory");
    let beside = beside.map(|entry| entry.expect("an entry").path());
    for old in beside.filter(|path| kind(path) == kind(directory)) {
        fs::remove_dir_all(old).expect("an old directory");
    }
    let new = directory.with_extension("new");
    fs::create_dir_all(&new).expect("a directory");
    fill(&new);
    fs::rename(new, directory).expect("the directory's place");
}

/// Runs inside a Debian. Makes a root, and an initrd that writes it into encrypted disks.
const MAKER: &str = include_str!("maker");

fn make_disks(debian: &Debian, out: &Path) {
    let copy = debian.copy();
    copy.write("/maker", MAKER);
    copy.write("/passphrase", PASSPHRASE);
    copy.write("/says", INSIDE);
    copy.run("bash /maker");
    let take = |name: &str| {
        fs::copy(copy.path("/out").join(name), out.join(name)).expect("a file");
        out.join(name)
    };
    let (kernel, initrd, inner) = (take("vmlinuz"), take("maker.img"), take("inner.img"));
    take(DRIVERS);
    let mut disks = vec![inner];
    for disk in Disk::ALL {
        let path = out.join(format!("{}.img", disk.name()));
        // LUKS2's header takes 16 MiB, the root 8.
        fs::File::create(&path).and_then(|file| file.set_len(26 << 20)).expect("a file");
        disks.push(path);
    }
    let command_line = "console=ttyS0 no_timer_check quiet panic=-1".to_owned();
    let maker = Launch { kernel, initrd, command_line, disks, written: true, ..Launch::default() };
    let ended = maker.boot().ended(BOUND);
    assert!(ended.console.contains("disks made"), "{}", ended.console);
}

fn make_initrds(debian: &Debian, package: &Path, out: &Path) {
    let copy = install(debian, package);
    copy.write("/etc/keybroker/guest.conf", "COMMAND_LINE=/etc/kernel/cmdline\nMEASURED_BY=kernel-hashes\n");
    for plugin in Plugin::ALL {
        copy.write("/etc/kernel/cmdline", plugin.command_line());
        copy.write("/etc/crypttab", plugin.crypttab());
        copy.run(&plugin.script());
        fs::copy(copy.path("/out").join(plugin.file()), out.join(plugin.file())).expect("an initrd");
    }
}

fn install(debian: &Debian, package: &Path) -> Copy {
    let copy = debian.copy();
    fs::copy(package, copy.path("/guest.deb")).expect("a file");
    fs::create_dir(copy.path("/out")).expect("a directory");
    copy.run("dpkg --install /guest.deb");
    copy.write("/etc/initramfs-tools/conf.d/boots", INITRAMFS_TOOLS);
    copy.write("/etc/initramfs-tools/modules", "virtio_console\nvirtio_rng\n");
    copy
}

/// A Debian in which the guest is installed and not set up.
pub fn with_guest(cache: &Path, package: &Path) -> Copy {
    install(&Debian::get(cache), package)
}

/// An archive with one file (cpio, newc). Its directory exists.
fn archive(name: &str, contents: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, contents, mode) in [(name, contents, 0o100_644), ("TRAILER!!!", [].as_slice(), 0)] {
        let fields = [1, mode, 0, 0, 1, 0, contents.len(), 0, 0, 0, 0, name.len() + 1, 0];
        archive.extend(b"070701");
        archive.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        archive.extend(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(contents);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

/// Makes the guest's Debian package from the program at `binary`.
pub fn package(workspace: &Path, binary: &Path, package: &Path) {
    must(std::process::Command::new(workspace.join("guest/debian/build")).arg(binary).arg(package));
}
