//! A stand-in for libkrunfw-sev: a library with the same exports, built by the C compiler in the way in which
//! libkrunfw builds its own. Its qboot and kernel run nothing.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The blobs of a stand-in, and how it is built.
#[derive(Debug, Clone)]
pub struct Krunfw {
    /// 4 or 5.
    pub version: u32,
    /// qboot.
    pub qboot: Vec<u8>,
    /// The kernel.
    pub kernel: Vec<u8>,
    /// Where the kernel is loaded.
    pub kernel_address: u64,
    /// The initrd.
    pub initrd: Vec<u8>,
    /// Sizes and addresses are in variables, and the kernel has no entry: as older releases have it.
    pub variables: bool,
    /// Further arguments of the compiler.
    pub flags: Vec<&'static str>,
}

impl Default for Krunfw {
    fn default() -> Self {
        let blob =
            |seed: usize, pages: usize| (0..pages * 4096).map(|i| (i * 31 / 16 + seed) as u8).collect();
        Self {
            version: 4,
            qboot: blob(1, 16),
            kernel: blob(2, 32),
            kernel_address: 0x100_0000,
            initrd: blob(3, 16),
            variables: false,
            flags: Vec::new(),
        }
    }
}

impl Krunfw {
    /// The name by which libkrun loads it.
    pub fn soname(&self) -> String {
        format!("libkrunfw-sev.so.{}", self.version)
    }

    /// Builds the library in a directory, under its soname.
    pub fn build(&self, directory: &Path) -> PathBuf {
        let source = directory.join("krunfw.c");
        std::fs::write(&source, self.source()).unwrap();
        let library = directory.join(self.soname());
        let built = Command::new("cc")
            .args(["-fPIC", "-shared", "-w"])
            .args(&self.flags)
            .arg(format!("-Wl,-soname,{}", self.soname()))
            .args(["-o".as_ref(), library.as_os_str(), source.as_os_str()])
            .status()
            .unwrap();
        assert!(built.success());
        assert!(Command::new("strip").arg(&library).status().unwrap().success());
        library
    }

    fn source(&self) -> String {
        let blobs = [("QBOOT", &self.qboot), ("KERNEL", &self.kernel), ("INITRD", &self.initrd)];
        let mut source = "#include <stddef.h>\n".to_owned();
        for (name, bytes) in blobs {
            let digits: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
            source += &format!("__attribute__((aligned(65536))) char {name}_BUNDLE[] = \"{digits}\";\n");
            source += &format!("size_t {name}_SIZE = {:#x};\n", bytes.len());
        }
        let size = |name: &str| match self.variables {
            true => format!("(((({name}_SIZE - 1) / 4096) + 1) * 4096)"),
            false => format!("sizeof({name}_BUNDLE) - 1"),
        };
        for (name, function) in [("QBOOT", "qboot"), ("INITRD", "initrd")] {
            source += &format!(
                "char *krunfw_get_{function}(size_t *size) {{ *size = {}; return &{name}_BUNDLE[0]; }}\n",
                size(name)
            );
        }
        let (address, size) = (self.kernel_address, size("KERNEL"));
        source += &match self.variables {
            true => format!(
                "size_t KERNEL_LOAD_ADDR = {address:#x};\n\
                 char *krunfw_get_kernel(size_t *load_addr, size_t *size) {{\n\
                 *load_addr = KERNEL_LOAD_ADDR; *size = {size}; return &KERNEL_BUNDLE[0]; }}\n"
            ),
            false => format!(
                "char *krunfw_get_kernel(size_t *load_addr, size_t *entry_addr, size_t *size) {{\n\
                 *load_addr = {address:#x}; *entry_addr = {address:#x} + 0x80; *size = {size};\n\
                 return &KERNEL_BUNDLE[0]; }}\n"
            ),
        };
        source + &format!("int krunfw_get_version() {{ return {}; }}\n", self.version)
    }
}

/// The blobs that the dynamic linker and the library's own code hand out, told by a program that loads it:
/// qboot, kernel and initrd, and the address of the kernel.
pub fn loaded(library: &Path, directory: &Path) -> (Vec<u8>, Vec<u8>, Vec<u8>, u64) {
    const PROGRAM: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library) { fprintf(stderr, "%s\n", dlerror()); return 1; }
    size_t load = 0, entry = 0, size = 0;
    const char *names[] = {"krunfw_get_qboot", "krunfw_get_initrd"};
    for (int i = 0; i < 2; i++) {
        char *(*get)(size_t *) = dlsym(library, names[i]);
        char *blob = get(&size);
        fwrite(&size, sizeof size, 1, stdout);
        fwrite(blob, 1, size, stdout);
    }
    char *(*kernel)(size_t *, size_t *, size_t *) = dlsym(library, "krunfw_get_kernel");
    size = 0;
    char *blob = kernel(&load, &entry, &size);
    if (!size) size = entry;
    fwrite(&size, sizeof size, 1, stdout);
    fwrite(blob, 1, size, stdout);
    fwrite(&load, sizeof load, 1, stdout);
    return 0;
}
"#;
    let (source, program) = (directory.join("loader.c"), directory.join("loader"));
    std::fs::write(&source, PROGRAM).unwrap();
    let built = Command::new("cc").args(["-w", "-o"]).args([&program, &source]).arg("-ldl").status().unwrap();
    assert!(built.success());
    let output = Command::new(&program).arg(library).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut rest = output.stdout.as_slice();
    let mut take = |bytes: usize| {
        let (taken, behind) = rest.split_at(bytes);
        rest = behind;
        taken.to_vec()
    };
    let mut blobs = (0..3).map(|_| {
        let size = u64::from_le_bytes(take(8).try_into().unwrap());
        take(size as usize)
    });
    let (qboot, initrd, kernel) = (blobs.next().unwrap(), blobs.next().unwrap(), blobs.next().unwrap());
    drop(blobs);
    let address = u64::from_le_bytes(take(8).try_into().unwrap());
    (qboot, kernel, initrd, address)
}
