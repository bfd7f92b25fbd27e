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
                means: "The report was made for another challenge or another key: an old one, or another \
                    guest's.",
                helps: "Start the guest again. If it happens again, something between guest and broker \
                    replaces reports or keys.",
            }
            /// The report says that it was signed.
            Signed {
                name: "signed",
                rule: signed,
                means: "The host told its firmware not to sign with the chip's key, so nothing proves what \
                    hardware this is.",
                helps: "Have the host's owner turn MASK_CHIP_KEY off, or take another host.",
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
                helps: "A simulated machine: only a broker with --trust-anchor believes it. Otherwise the \
                    certificate is not AMD's.",
            }
            /// The certificates are valid now.
            Validity {
                name: "certificate-validity",
                rule: validity,
                means: "A certificate is outside its time. AMD had no other, or was not asked; where it \
                    begins within five minutes the guest was told to wait, and keeps its challenge.",
                helps: "Compare the broker's clock (`keybroker doctor`). A VLEK lives for a year: have the \
                    provider's host load a new one.",
            }
            /// None of them is revoked, by a CRL that counts now.
            Revocation {
                name: "revocation",
                rule: revocation,
                means: "AMD no longer stands by the certificate, or there is no revocation list that says it \
                    does.",
                helps: "Stale: look whether the KDS answers (`keybroker doctor`), or import a list with \
                    `keybroker certificates import FILE`. Revoked: no guest on such hosts gets anything \
                    until AMD reissues.",
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
                helps: "If the guest or host brings a certificate along, renew it after a firmware update \
                    (snphost fetch vek). If its firmware signs under the VCEK of current_tcb, update the \
                    firmware and commit to it (snphost commit).",
            }
            /// The chip is the certificate's, or the provider is accepted.
            Identity {
                name: "chip-or-provider",
                rule: identity,
                means: "The key that signed belongs to another chip, or to a cloud provider that is not \
                    accepted, or the report names no chip.",
                helps: "A provider that you trust: name it with --accept-csp-id (AcceptCspIds). A chip id \
                    that the host masks: have its owner turn MASK_CHIP_ID off.",
            }
            /// The certificate's key made the signature.
            Signature {
                name: "signature",
                rule: signature,
                means: "The report is not what the chip signed under this certificate's key.",
                helps: "Where current_tcb is another than reported_tcb, the firmware may have signed under \
                    the VCEK of current_tcb: update it, and commit to it on the host (snphost commit). \
                    Otherwise look for what alters the report between guest and broker: nobody but AMD's \
                    firmware can make one.",
            }
        }
    };
}
