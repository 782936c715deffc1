use std::io::Write;

use flate2::write::GzEncoder;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn skippable(bytes: &[u8]) -> Vec<u8> {
    let size = u32::try_from(bytes.len()).unwrap();
    [b"\x52\x2a\x4d\x18", &size.to_le_bytes()[..], bytes].concat()
}

fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    decode(bytes)?.read_to_end(&mut content)?;
    Ok(content)
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn plain_content_is_passed_on() {
    for content in [
        &b""[..],
        b"\x1f",
        b"\x1f\x00",
        b"content",
        b"BZh",
        b"\xfd7zXZ",
    ] {
        assert_eq!(read(content).unwrap(), content);
    }
}

#[test]
fn compressed_content_is_decompressed() {
    for (bytes, compression) in [
        (gzip(b"content"), Compression::Gzip),
        (zstd(b"content"), Compression::Zstd),
        (
            [skippable(b"skip"), zstd(b"content")].concat(),
            Compression::Zstd,
        ),
    ] {
        assert_eq!(decode(&bytes[..]).unwrap().compression(), compression);
        assert_eq!(read(&bytes).unwrap(), b"content");
    }
}

#[test]
fn compressed_parts_are_read_as_one() {
    for compress in [gzip, zstd] {
        let parts = [compress(b"one "), compress(b""), compress(b"two")].concat();
        assert_eq!(read(&parts).unwrap(), b"one two");
    }
    let skipped = [zstd(b"one "), skippable(b"x"), zstd(b"two"), skippable(b"")].concat();
    assert_eq!(read(&skipped).unwrap(), b"one two");
}

#[test]
fn compression_cut_anywhere_is_an_error() {
    for whole in [gzip(b"content"), zstd(b"content")] {
        // Shorter ones do not show that they are compressed.
        for end in 4..whole.len() {
            assert!(read(&whole[..end]).is_err(), "cut at {end}");
            let second = [&whole[..], &whole[..end]].concat();
            assert!(read(&second).is_err(), "second part cut at {end}");
        }
    }
}

#[test]
fn changed_content_is_an_error() {
    let mut gzip = gzip(b"content");
    let sum = gzip.len() - 8;
    gzip[sum] ^= 1;
    let mut zstd = zstd(b"content");
    let sum = zstd.len() - 1;
    zstd[sum] ^= 1;

    assert!(read(&gzip).is_err());
    assert!(read(&zstd).is_err());
}

#[test]
fn what_follows_is_an_error_unless_it_is_zeros_after_gzip() {
    let content = "content".repeat(1000);
    let padded = [gzip(content.as_bytes()), vec![0; 1 << 20]].concat();
    assert_eq!(read(&padded).unwrap(), content.as_bytes());

    let garbage = [gzip(b"content"), b"garbage".to_vec()].concat();
    let expected = "something else follows the compressed content";
    assert_eq!(refusal(&garbage), expected);
    let hidden = [padded, b"garbage".to_vec()].concat();
    assert_eq!(refusal(&hidden), expected);
    let member = [gzip(b"content"), vec![0; 10], gzip(b"hidden")].concat();
    assert_eq!(refusal(&member), expected);
    for rest in [&b"garbage"[..], &[0; 10]] {
        assert!(read(&[zstd(b"content"), rest.to_vec()].concat()).is_err());
    }
}

#[test]
fn error_is_told_again_and_never_becomes_an_end() {
    for whole in [gzip(b"content"), zstd(b"content")] {
        let mut changed = whole.clone();
        changed[12] ^= 0xff;
        let cut = whole[..whole.len() - 1].to_vec();
        let followed = [whole, b"garbage".to_vec()].concat();
        for bytes in [cut, changed, followed] {
            let mut decoded = decode(&bytes[..]).unwrap();
            let mut content = Vec::new();
            assert!(decoded.read_to_end(&mut content).is_err());
            assert!(decoded.read_to_end(&mut content).is_err());
        }
    }
}

#[test]
fn other_compression_is_refused_by_its_name() {
    let xz = refusal(b"\xfd7zXZ\0rest");
    let bzip2 = refusal(b"BZh91AY&SY");

    assert_eq!(xz, "compressed with xz, which is not supported");
    assert_eq!(bzip2, "compressed with bzip2, which is not supported");
}

#[test]
fn window_is_limited_and_the_limit_is_named() {
    let compress = |log| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(&vec![7; 100 << 20]).unwrap();
        encoder.finish().unwrap()
    };

    assert!(
        decode(&compress(23)[..])
            .unwrap()
            .read(&mut [0; 10])
            .is_ok()
    );
    let refusal = refusal(&compress(24));
    assert!(refusal.contains("a window of more than 8 MiB"), "{refusal}");
}
