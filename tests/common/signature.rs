//! The signature at the end of a signed module:
//!
//! ```text
//! signer's name, key id, signature data, then the trailer of 12 bytes
//!     algorithm, hash, id type, length of the name, length of the key id, 3 bytes of padding,
//!     length of the data (4 bytes, big-endian whatever the module's own order)
//! and "~Module signature appended~\n"
//! ```

/// What is appended to a signed module. The fields are the trailer's, in its order.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Public key algorithm: 0 DSA, 1 RSA; 0 for PKCS#7.
    pub algo: u8,
    /// Hash: 2 sha1, 4 sha256, 6 sha512; 0 for PKCS#7.
    pub hash: u8,
    /// 0 PGP, 1 X509, 2 PKCS#7.
    pub id_type: u8,
    /// Signer's name; empty for PKCS#7.
    pub signer: Vec<u8>,
    /// Key identifier; empty for PKCS#7.
    pub key_id: Vec<u8>,
    /// The signature proper; for PKCS#7 the DER message.
    pub data: Vec<u8>,
}

impl Signature {
    /// The form current kernels make: a PKCS#7 message (`der`) and an otherwise empty trailer.
    pub fn pkcs7(der: impl AsRef<[u8]>) -> Self {
        Signature {
            algo: 0,
            hash: 0,
            id_type: 2,
            signer: Vec::new(),
            key_id: Vec::new(),
            data: der.as_ref().to_vec(),
        }
    }

    /// The bytes that follow the module's own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.signer);
        out.extend_from_slice(&self.key_id);
        out.extend_from_slice(&self.data);
        let (signer, key_id) = (self.signer.len() as u8, self.key_id.len() as u8);
        out.extend_from_slice(&[self.algo, self.hash, self.id_type, signer, key_id, 0, 0, 0]);
        out.extend_from_slice(&(self.data.len() as u32).to_be_bytes());
        out.extend_from_slice(b"~Module signature appended~\n");
        out
    }
}

/// A value in DER.
pub fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        length @ ..=0x7f => out.push(length as u8),
        length @ ..=0xff => out.extend_from_slice(&[0x81, length as u8]),
        length => out.extend_from_slice(&[0x82, (length >> 8) as u8, length as u8]),
    }
    [out, content].concat()
}

/// An object identifier.
pub fn oid(bytes: &[u8]) -> Vec<u8> {
    tlv(6, &[bytes])
}

/// The OID of a digest.
pub const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
/// Another.
pub const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];
/// The OID of a name's attribute.
pub const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// An attribute of a name, in UTF-8.
pub fn attribute(kind: &[u8], value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&oid(kind), &tlv(12, &[value])])
}

/// A PKCS#7 message of one signer: the parts that the tests vary.
#[derive(Clone)]
pub struct Message {
    pub issuer: Vec<u8>,
    pub serial: Vec<u8>,
    pub digest: Vec<u8>,
    /// In front of the signer's identification where it is not issuer and serial number.
    pub signer_id: Option<Vec<u8>>,
    pub certificates: Vec<u8>,
    pub attributes: Vec<u8>,
    /// How the digest is signed, if not by what stands for the digest.
    pub algorithm: Option<Vec<u8>>,
    pub signature: Vec<u8>,
}

impl Default for Message {
    fn default() -> Self {
        Message {
            issuer: tlv(0x31, &[&attribute(COMMON_NAME, b"Build key")]),
            serial: vec![0x42],
            digest: SHA256.to_vec(),
            signer_id: None,
            certificates: Vec::new(),
            attributes: Vec::new(),
            algorithm: None,
            signature: b"encrypted".to_vec(),
        }
    }
}

impl Message {
    /// The message.
    pub fn der(&self) -> Vec<u8> {
        let sequence = |parts: &[&[u8]]| tlv(0x30, parts);
        let algorithm = sequence(&[&oid(&self.digest), &tlv(5, &[])]);
        let by_issuer = sequence(&[&sequence(&[&self.issuer]), &tlv(2, &[&self.serial])]);
        let signer = sequence(&[
            &tlv(2, &[&[1]]),
            self.signer_id.as_ref().unwrap_or(&by_issuer),
            &algorithm,
            &self.attributes,
            self.algorithm.as_ref().unwrap_or(&algorithm),
            &tlv(4, &[&self.signature]),
        ]);
        let signed_data = sequence(&[
            &tlv(2, &[&[1]]),
            &tlv(0x31, &[&algorithm]),
            &sequence(&[&oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1])]),
            &self.certificates,
            &tlv(0x31, &[&signer]),
        ]);
        sequence(&[&oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2]), &tlv(0xa0, &[&signed_data])])
    }
}

/// OIDs of ML-DSA-44, -65 and -87 with the length of their signatures (FIPS 204).
pub const ML_DSA: [(&str, &[u8], usize); 3] = [
    ("44", &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 17], 2420),
    ("65", &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 18], 3309),
    ("87", &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 19], 4627),
];

impl Message {
    /// One signed with ML-DSA of this strength, as kernels since 7.0 have them: no parameters behind the algorithm, and
    /// SHA-512 where there are no signed attributes (RFC 9882, 3).
    pub fn ml_dsa(strength: &str) -> Option<Message> {
        let (_, algorithm, length) = ML_DSA.into_iter().find(|(known, ..)| *known == strength)?;
        Some(Message {
            digest: SHA512.to_vec(),
            algorithm: Some(tlv(0x30, &[&oid(algorithm)])),
            signature: (0..length).map(|at| (at % 251) as u8).collect(),
            ..Message::default()
        })
    }
}
