//! The checks of appraisal: one row for each, in the order in which they are made.

/// Hands the rows to the macro `$make`. `enumerate!` makes the enum of them, `rules!` the list of the rules.
///
/// - the text above a row: what the check establishes, once it holds;
/// - `name`: its stable name, as records and metrics carry it;
/// - `demand`: who demands it. `Floor` holds for every guest, whatever a registration says. `Policy` has what
///   a registration's policy demands by it, for people to read: a name, and what is required;
/// - `rule`: the function that makes it;
/// - `means`, `helps`: for an operator, of a guest that fails it.
#[rustfmt::skip] // it would move the lines of texts
macro_rules! checks {
    ($make:ident) => {
        $make! {
            /// The host may not read the guest's memory.
            Debug {
                name: "guest-policy-debug",
                demand: Floor,
                rule: debug,
                means: "The host can read the guest's memory, so nothing is released.",
                helps: "Launch the guest with krun's own settings, without debugging.",
            }
            /// No migration agent may be associated.
            MigrateMa {
                name: "guest-policy-migrate-ma",
                demand: Floor,
                rule: migrate_ma,
                means: "A migration agent is another VM, which gets the guest's state: nothing is released \
                    to such a guest.",
                helps: "Launch the guest with krun's own settings.",
            }
            /// The guest policy sets no bit of unknown meaning.
            PolicyForm {
                name: "guest-policy-form",
                demand: Floor,
                rule: policy_form,
                means: "The broker does not know what these bits permit. They might permit what DEBUG \
                    permits.",
                helps: "Launch the guest with krun's own settings. A newer ABI of AMD's needs a newer \
                    release of the broker.",
            }
            /// The report was asked for at VMPL 0.
            Vmpl {
                name: "vmpl",
                demand: Floor,
                rule: vmpl,
                means: "Software at a less privileged level asked for the report, and the measurement does \
                    not cover that software.",
                helps: "Ask for the report at VMPL 0: snpguest asks at VMPL 1 unless it is given --vmpl 0. A \
                    guest behind a paravisor cannot. On Azure the paravisor asks for it: docs/azure.md.",
            }
            /// The operator admits the product.
            FleetProduct {
                name: "fleet-product",
                demand: Floor,
                rule: |inputs| product(inputs, Operator),
                means: "The host's product is not in the operator's list of products.",
                helps: "If the product should be accepted, add it to --accept-product (AcceptProducts).",
            }
            /// The operator admits the chip.
            FleetChip {
                name: "fleet-chip",
                demand: Floor,
                rule: |inputs| chip(inputs, Operator),
                means: "The host's chip is not in the operator's list of chips, or the host masks the chip's \
                    id.",
                helps: "If the chip should be accepted, add its id, which the record has, to --accept-chip \
                    (AcceptChips).",
            }
            /// The operator's floor of the reported TCB holds.
            FleetMinimumTcb {
                name: "fleet-minimum-tcb",
                demand: Floor,
                rule: |inputs| minimum_tcb(inputs, Operator, Version::Reported),
                means: "The host's firmware is below the floor that the operator sets for every guest, or no \
                    floor names its silicon.",
                helps: UPDATE_FIRMWARE,
            }
            /// The operator's floor of the committed TCB holds.
            FleetMinimumCommittedTcb {
                name: "fleet-minimum-committed-tcb",
                demand: Floor,
                rule: |inputs| minimum_tcb(inputs, Operator, Version::Committed),
                means: "The host could be rolled back to firmware below the operator's floor, or no floor \
                    names its silicon.",
                helps: COMMIT_FIRMWARE,
            }
            /// The operator's floor of the current TCB holds.
            FleetMinimumCurrentTcb {
                name: "fleet-minimum-current-tcb",
                demand: Floor,
                rule: |inputs| minimum_tcb(inputs, Operator, Version::Current),
                means: "The host runs firmware below the operator's floor, or no floor names its silicon.",
                helps: UPDATE_FIRMWARE,
            }
            /// The operator's floor of the launch TCB holds.
            FleetMinimumLaunchTcb {
                name: "fleet-minimum-launch-tcb",
                demand: Floor,
                rule: |inputs| minimum_tcb(inputs, Operator, Version::Launch),
                means: "The guest was started while the host still had older firmware than the operator \
                    demands, or no floor names its silicon.",
                helps: START_AGAIN,
            }
            /// The mitigations that the operator demands are there.
            FleetCurrentMitigations {
                name: "fleet-current-mitigations",
                demand: Floor,
                rule: |inputs| mitigations(inputs, Operator, When::Current),
                means: "The host's firmware has not verified a mitigation that the operator demands, its \
                    report is older than version 5, or no row names its silicon.",
                helps: UPDATE_FIRMWARE,
            }
            /// The mitigations that the operator demands are there at the launch.
            FleetLaunchMitigations {
                name: "fleet-launch-mitigations",
                demand: Floor,
                rule: |inputs| mitigations(inputs, Operator, When::Launch),
                means: "At the launch the host's firmware had not verified a mitigation that the operator \
                    demands, its report is older than version 5, or no row names its silicon.",
                helps: START_AGAIN,
            }
            /// The conditions that the operator demands of the platform hold.
            FleetPlatformInfo {
                name: "fleet-platform-info",
                demand: Floor,
                rule: |inputs| conditions(inputs, Operator),
                means: "The host's BIOS settings or its firmware do not give what the operator demands.",
                helps: SET_UP_HOST,
            }
            /// The firmware's version is at least the operator's.
            FleetMinimumFirmware {
                name: "fleet-minimum-firmware",
                demand: Floor,
                rule: |inputs| firmware(inputs, Operator),
                means: "The host runs older SNP firmware than the operator demands.",
                helps: UPDATE_FIRMWARE,
            }
            /// The report came in the form that the registration demands.
            EvidenceForm {
                name: "evidence-form",
                demand: Policy("evidence", |policy| {
                    flag(!policy.evidence.is_snp(), policy.evidence.name())
                }),
                rule: evidence_form,
                means: "The guest presented the report of an Azure confidential VM, which its paravisor asked \
                    for, and the registration is for guests that ask by themselves; or the other way round.",
                helps: "If the workload runs in an Azure confidential VM, register it again with --require \
                    evidence=az-snp-vtpm: docs/azure.md says what that form does not prove. Otherwise ask who \
                    sent this evidence.",
            }
            /// The launch measurement is registered.
            Measurement {
                name: "measurement",
                demand: ReferenceValues,
                rule: measurement,
                means: "The host launched something else than was registered: other firmware, kernel, \
                    initrd, kernel command line, or number of vCPUs.",
                helps: "If the host has another libkrunfw or starts the guest with other --cpus, build the \
                    image again, so that it is registered with what the host launches. If kata or its guest \
                    image was updated, register its new launch measurement. Otherwise ask the host's owner \
                    what was launched.",
            }
            /// Simultaneous multithreading is forbidden where it must be.
            Smt {
                name: "guest-policy-smt",
                demand: Policy("SMT", |policy| flag(policy.forbid_smt, "forbidden by the guest policy")),
                rule: smt,
                means: "With SMT another guest may share a core with this one, and the registration does not \
                    permit that.",
                helps: OTHER_REGISTRATION,
            }
            /// One socket only, where it must be.
            SingleSocket {
                name: "guest-policy-single-socket",
                demand: Policy("socket", |policy| {
                    flag(policy.require_single_socket, "a single one, by the guest policy")
                }),
                rule: single_socket,
                means: "The registration demands a guest that is bound to one socket.",
                helps: OTHER_REGISTRATION,
            }
            /// Ciphertext is hidden where it must be.
            CiphertextHiding {
                name: "guest-policy-ciphertext-hiding",
                demand: Policy("ciphertext", |policy| {
                    flag(policy.require_ciphertext_hiding, "hidden, by the guest policy")
                }),
                rule: ciphertext_hiding,
                means: "The registration demands that the host cannot see the ciphertext of the guest's \
                    memory.",
                helps: "Launch the guest with ciphertext hiding on a host that has it, or register the \
                    workload again without that demand.",
            }
            /// The ABI floor holds.
            Abi {
                name: "guest-policy-abi",
                demand: Policy("ABI", |policy| policy.minimum_abi.map(abi)),
                rule: abi,
                means: "The guest policy lets older firmware start the guest than the registration permits.",
                helps: "Launch it with a guest policy of at least that ABI, or register the workload again.",
            }
            /// The registration admits the product.
            AdmittedProduct {
                name: "admitted-product",
                demand: Policy("product", |policy| names(policy.platform.products.as_deref())),
                rule: |inputs| product(inputs, Registration),
                means: "The registration does not admit guests on this product.",
                helps: OTHER_REGISTRATION,
            }
            /// The registration admits the chip.
            AdmittedChip {
                name: "admitted-chip",
                demand: Policy("chip", |policy| policy.platform.chips.as_deref().map(chips)),
                rule: |inputs| chip(inputs, Registration),
                means: "The registration does not admit guests on this chip, or the host masks the chip's \
                    id.",
                helps: OTHER_REGISTRATION,
            }
            /// The registration's floor of the reported TCB holds.
            MinimumTcb {
                name: "minimum-tcb",
                demand: Policy("reported TCB", |policy| rows(&policy.platform.minimum_tcb)),
                rule: |inputs| minimum_tcb(inputs, Registration, Version::Reported),
                means: "The host's firmware is below what the registration demands, or the registration \
                    names no floor for this silicon.",
                helps: UPDATE_FIRMWARE,
            }
            /// The registration's floor of the committed TCB holds.
            MinimumCommittedTcb {
                name: "minimum-committed-tcb",
                demand: Policy("committed TCB", |policy| rows(&policy.platform.minimum_committed_tcb)),
                rule: |inputs| minimum_tcb(inputs, Registration, Version::Committed),
                means: "The host could be rolled back to firmware below what the registration demands, or \
                    the registration names no floor for this silicon.",
                helps: COMMIT_FIRMWARE,
            }
            /// The registration's floor of the current TCB holds.
            MinimumCurrentTcb {
                name: "minimum-current-tcb",
                demand: Policy("current TCB", |policy| rows(&policy.platform.minimum_current_tcb)),
                rule: |inputs| minimum_tcb(inputs, Registration, Version::Current),
                means: "The host runs firmware below what the registration demands, or the registration \
                    names no floor for this silicon.",
                helps: UPDATE_FIRMWARE,
            }
            /// The registration's floor of the launch TCB holds.
            MinimumLaunchTcb {
                name: "minimum-launch-tcb",
                demand: Policy("launch TCB", |policy| rows(&policy.platform.minimum_launch_tcb)),
                rule: |inputs| minimum_tcb(inputs, Registration, Version::Launch),
                means: "The guest was started while the host still had older firmware than the registration \
                    demands, or the registration names no floor for this silicon.",
                helps: START_AGAIN,
            }
            /// The mitigations that the registration demands are there.
            CurrentMitigations {
                name: "current-mitigations",
                demand: Policy("mitigations", |policy| rows(&policy.platform.current_mitigations)),
                rule: |inputs| mitigations(inputs, Registration, When::Current),
                means: "The host's firmware has not verified a mitigation that the registration demands, its \
                    report is older than version 5, or no row names its silicon.",
                helps: UPDATE_FIRMWARE,
            }
            /// The mitigations that the registration demands are there at the launch.
            LaunchMitigations {
                name: "launch-mitigations",
                demand: Policy("launch mitigations", |policy| rows(&policy.platform.launch_mitigations)),
                rule: |inputs| mitigations(inputs, Registration, When::Launch),
                means: "At the launch the host's firmware had not verified a mitigation that the \
                    registration demands, its report is older than version 5, or no row names its silicon.",
                helps: START_AGAIN,
            }
            /// The conditions that the registration demands of the platform hold.
            PlatformInfo {
                name: "platform-info",
                demand: Policy("platform", |policy| names(some(&policy.platform.conditions))),
                rule: |inputs| conditions(inputs, Registration),
                means: "The host's BIOS settings or its firmware do not give what the registration demands.",
                helps: SET_UP_HOST,
            }
            /// The firmware's version is at least the registration's.
            MinimumFirmware {
                name: "minimum-firmware",
                demand: Policy("firmware", |policy| policy.platform.minimum_firmware.map(at_least)),
                rule: |inputs| firmware(inputs, Registration),
                means: "The host runs older SNP firmware than the registration demands.",
                helps: UPDATE_FIRMWARE,
            }
            /// HOST_DATA is the required one.
            HostData {
                name: "host-data",
                demand: Policy("HOST_DATA", |policy| hex(policy.host_data)),
                rule: host_data,
                means: "No registration has this HOST_DATA, or the registration demands another one.",
                helps: "Launch the guest with exactly the HOST_DATA that the broker answered when the \
                    workload was registered.",
            }
            /// The init data is the required one, and tied to the guest as the registration says.
            InitData {
                name: "init-data",
                demand: Policy("init data", |policy| policy.init_data.as_ref().map(ToString::to_string)),
                rule: init_data,
                means: "The host gave the guest another init data document than was registered, or launched it \
                    without the document's digest in HOST_DATA.",
                helps: "Launch the guest with exactly the document and the HOST_DATA that were printed when the \
                    workload was registered. If the document was changed on purpose, register the workload again \
                    with it.",
            }
            /// The ID key is the required one.
            IdKey {
                name: "id-key-digest",
                demand: Policy("ID key", |policy| policy.id_key_digest.as_ref().map(ToString::to_string)),
                rule: id_key,
                means: "The guest has no ID block, or another key signed it than the registration demands.",
                helps: "Launch the guest with the ID block that the owner of the key signed.",
            }
            /// The author key is the required one.
            AuthorKey {
                name: "author-key-digest",
                demand: Policy("author key", |policy| hex(policy.author_key_digest)),
                rule: author_key,
                means: "No author key certified the key of the guest's ID block, or another one did than the \
                    registration demands.",
                helps: "Launch the guest with an ID block whose key the author certified (AUTHOR_KEY_EN).",
            }
            /// FAMILY_ID is the required one.
            FamilyId {
                name: "family-id",
                demand: Policy("FAMILY_ID", |policy| hex(policy.family_id)),
                rule: family_id,
                means: "The guest is of another family than the registration demands.",
                helps: "Launch the image that was registered, with its own ID block.",
            }
            /// IMAGE_ID is the required one.
            ImageId {
                name: "image-id",
                demand: Policy("IMAGE_ID", |policy| hex(policy.image_id)),
                rule: image_id,
                means: "The guest is another image than the registration demands.",
                helps: "Launch the image that was registered, with its own ID block.",
            }
            /// The GUEST_SVN floor holds.
            GuestSvn {
                name: "guest-svn",
                demand: Policy("GUEST_SVN", |policy| policy.minimum_guest_svn.map(at_least)),
                rule: guest_svn,
                means: "The guest is an older version than the registration demands.",
                helps: "Roll the newer image out to this host.",
            }
        }
    };
}
