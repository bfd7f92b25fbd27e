//! The checks of verification: one row for each, in the order in which they are made.

/// Hands the rows to the macro `$make`. `enumerate!` makes the enum of them, `rules!` the list of the rules.
///
/// - the text above a row: what the check establishes, once it holds;
/// - `name`: its stable name, as records and metrics carry it;
/// - `rule`: the function that makes it;
/// - `means`, `helps`: for an operator, of a report that fails it.
#[rustfmt::skip] // it would move the lines of texts
macro_rules! checks {
    ($make:ident) => {
        $make! {
            /// The report is bound to the challenge.
            Challenge {
                name: "challenge",
                rule: challenge,
                means: "The report was made for another challenge or another key: it is old, or it is \
                    another guest's.",
                helps: "Start the guest again. If it happens again, something between guest and broker \
                    replaces reports or keys.",
            }
            /// The report says that it was signed.
            Signed {
                name: "signed",
                rule: signed,
                means: "The host told its firmware not to sign with the chip's key, so nothing proves what \
                    hardware this is.",
                helps: "Ask the host's owner to turn MASK_CHIP_KEY off, or use another host.",
            }
            /// The report's signing key is of the certificate's kind.
            SigningKey {
                name: "signing-key",
                rule: signing_key,
                means: "The certificate is for a key of another kind than the one that signed the report.",
                helps: "Send the VLEK's certificate with a VLEK's report, and the VCEK's or none with a \
                    VCEK's.",
            }
            /// The certificate leads to a trust anchor.
            Chain {
                name: "certificate-chain",
                rule: chain,
                means: "The certificate of the signing key does not lead to a root of AMD's.",
                helps: "If the machine is simulated, only a broker with --trust-anchor accepts it. Otherwise \
                    the certificate is not AMD's.",
            }
            /// The certificates are valid now.
            Validity {
                name: "certificate-validity",
                rule: validity,
                means: "A certificate is not valid at this time, and AMD had no other or was not asked. If \
                    it becomes valid within five minutes, the broker told the guest to wait, and the guest \
                    keeps its challenge.",
                helps: "Check the broker's clock (`keybroker doctor`). A VLEK is valid for a year: the \
                    provider's host must load a new one.",
            }
            /// None of them is revoked, by a CRL that counts now.
            Revocation {
                name: "revocation",
                rule: revocation,
                means: "AMD has revoked the certificate, or the broker has no valid revocation list that \
                    shows the opposite.",
                helps: "If the list is stale, check whether the KDS answers (`keybroker doctor`), or import \
                    a list with `keybroker certificates import FILE`. If the certificate is revoked, no \
                    guest on such hosts gets anything until AMD issues another.",
            }
            /// The CPU is of the certificate's product.
            Product {
                name: "product",
                rule: product,
                means: "The CPU is of another product than the certificate, or one that this broker does not \
                    know.",
                helps: "Compare with the host's CPU. A new product needs a newer release of the broker.",
            }
            /// The reported TCB is the certificate's.
            ReportedTcb {
                name: "reported-tcb",
                rule: reported_tcb,
                means: "The certificate is for other firmware than the host reports: AMD makes one for each \
                    TCB.",
                helps: "If the guest or the host sends a certificate, renew it after a firmware update \
                    (snphost fetch vek). If its firmware signs under the VCEK of current_tcb, update the \
                    firmware and commit to it (snphost commit).",
            }
            /// The chip is the certificate's, or the provider is accepted.
            Identity {
                name: "chip-or-provider",
                rule: identity,
                means: "The signing key belongs to another chip or to a cloud provider that is not accepted, \
                    or the report names no chip.",
                helps: "If you trust the provider, name it with --accept-csp-id (AcceptCspIds). If the host \
                    masks its chip id, ask its owner to turn MASK_CHIP_ID off.",
            }
            /// The certificate's key made the signature.
            Signature {
                name: "signature",
                rule: signature,
                means: "This certificate's key did not make this signature over this report.",
                helps: "If current_tcb differs from reported_tcb, the firmware may have signed with the VCEK \
                    of current_tcb: update it, and commit to it on the host (snphost commit). Otherwise find \
                    out what alters the report between guest and broker: only AMD's firmware can make one.",
            }
        }
    };
}
