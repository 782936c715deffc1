//! The kernel's token bucket (`sch_tbf`): its options, written and read.

use netlink_packet_route::tc::TcOption;
use rtnetlink::packet_core::{DefaultNla, Nla, NlasIterator};

use crate::networkmanager::bandwidth::{Bucket, Rate};

const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_PRATE64: u16 = 5;
const TCA_TBF_BURST: u16 = 6;
const TCA_TBF_PBURST: u16 = 7;

/// The kernel works out the time of a packet itself, and needs no table of it.
const TC_LINKLAYER_ETHERNET: u8 = 1;
/// The kernel tells times in units of 64 ns.
const TICK: u64 = 64;
const SECOND: u64 = 1_000_000_000;

/// Bytes a second of the second bucket, which every packet passes as well. At
/// this rate any packet takes less than a nanosecond, which is nothing to the
/// kernel. We want only its other effect: packets that are larger than its
/// burst are cut before they are queued.
const PEAK: u64 = 1_000_000_000_000_000;

/// The options that make a bucket.
pub(super) fn write(bucket: Bucket) -> Vec<TcOption> {
    let mut parameters = Vec::with_capacity(36);
    for rate in [bucket.rate, PEAK] {
        // Size of the table's cells, link layer, overhead, alignment, and
        // smallest packet.
        parameters.extend([0, TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0]);
        let rate = u32::try_from(rate).unwrap_or(u32::MAX);
        parameters.extend(rate.to_ne_bytes());
    }
    parameters.extend(bucket.queue.to_ne_bytes());
    // Both bursts as times, which cannot hold long ones. They follow in bytes.
    parameters.extend([0; 8]);

    let mut options = vec![(TCA_TBF_PARMS, parameters)];
    if bucket.rate > u32::MAX.into() {
        options.push((TCA_TBF_RATE64, bucket.rate.to_ne_bytes().to_vec()));
    }
    options.extend([
        (TCA_TBF_PRATE64, PEAK.to_ne_bytes().to_vec()),
        (TCA_TBF_BURST, bucket.burst.to_ne_bytes().to_vec()),
        (TCA_TBF_PBURST, bucket.largest.to_ne_bytes().to_vec()),
    ]);

    options
        .into_iter()
        .map(|(kind, value)| TcOption::Other(DefaultNla::new(kind, value)))
        .collect()
}

/// The rate whose bucket the kernel describes with these options, if it is just
/// as we make it.
pub(super) fn read(options: &[TcOption]) -> Option<Rate> {
    let [TcOption::Other(options)] = options else {
        return None;
    };
    let mut bytes = vec![0; options.value_len()];
    options.emit_value(&mut bytes);

    let mut parameters = None;
    let (mut rate, mut peak) = (None, None);
    for option in NlasIterator::new(&bytes) {
        let option = option.ok()?;
        match option.kind() {
            TCA_TBF_PARMS => parameters = Some(option.value().to_vec()),
            TCA_TBF_RATE64 => rate = Some(u64::from_ne_bytes(number(option.value(), 0)?)),
            TCA_TBF_PRATE64 => peak = Some(u64::from_ne_bytes(number(option.value(), 0)?)),
            _ => {}
        }
    }
    let parameters = parameters?;
    let word = |at| Some(u32::from_ne_bytes(number(&parameters, at)?));

    let rate = match rate {
        Some(rate) => rate,
        None => word(8)?.into(),
    };
    let rate = Rate::from_bytes(rate)?;
    let bucket = rate.bucket();
    let ours =
        peak == Some(PEAK) && word(24)? == bucket.queue && is_burst(word(28)?.into(), bucket);
    ours.then_some(rate)
}

/// Whether a burst has this time, up to the rounding of the kernel.
fn is_burst(ticks: u64, bucket: Bucket) -> bool {
    let exact = u64::from(bucket.burst) * SECOND / bucket.rate / TICK;

    ticks.abs_diff(exact) <= 1 + exact / 1000
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::tc::{TcAttribute, TcMessage};
    use proptest::prelude::*;
    use rtnetlink::packet_core::Emitable;

    use super::*;

    fn rate(kbit: u64) -> Rate {
        Rate::from_kbit(kbit).unwrap()
    }

    /// The options as they go to the kernel.
    fn wire(kbit: u64) -> Vec<u8> {
        let mut message = TcMessage::default();
        message
            .attributes
            .push(TcAttribute::Options(write(rate(kbit).bucket())));
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        // The header of the message, and that of the options.
        bytes.split_off(24)
    }

    fn from_kernel(bytes: Vec<u8>) -> Option<Rate> {
        read(&[TcOption::Other(DefaultNla::new(2, bytes))])
    }

    /// What a kernel says of a bucket.
    fn told(bucket: Bucket) -> Vec<u8> {
        let ticks = u64::from(bucket.burst) * SECOND / bucket.rate / TICK;
        let mut parameters = Vec::new();
        for rate in [bucket.rate, PEAK] {
            parameters.extend([0, 1, 0, 0, 0, 0, 0, 0]);
            parameters.extend(u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
        }
        parameters.extend(bucket.queue.to_ne_bytes());
        parameters.extend(u32::try_from(ticks).unwrap().to_ne_bytes());
        parameters.extend([0; 4]);
        let mut options = vec![
            DefaultNla::new(TCA_TBF_PARMS, parameters),
            DefaultNla::new(TCA_TBF_PRATE64, PEAK.to_ne_bytes().to_vec()),
        ];
        if bucket.rate > u32::MAX.into() {
            options.push(DefaultNla::new(
                TCA_TBF_RATE64,
                bucket.rate.to_ne_bytes().to_vec(),
            ));
        }
        let mut bytes = vec![0; options.as_slice().buffer_len()];
        options.as_slice().emit(&mut bytes);
        bytes
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn options_are_those_of_the_kernels_interface() {
        #[rustfmt::skip]
        let expected = [
            // TCA_TBF_PARMS: rate 1,250,000 bytes a second, peak rate, queue
            // 137,500 bytes.
            40, 0, 1, 0,
            0, 1, 0, 0, 0, 0, 0, 0, 0xd0, 0x12, 0x13, 0,
            0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
            0x1c, 0x19, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            // TCA_TBF_PRATE64
            12, 0, 5, 0, 0, 0x80, 0xc6, 0xa4, 0x7e, 0x8d, 3, 0,
            // TCA_TBF_BURST: 12,500 bytes.
            8, 0, 6, 0, 0xd4, 0x30, 0, 0,
            // TCA_TBF_PBURST: 1,600 bytes.
            8, 0, 7, 0, 0x40, 6, 0, 0,
        ];

        assert_eq!(wire(10_000), expected);
    }

    #[test]
    fn rate_beyond_32_bits_goes_in_64() {
        let bytes = wire(40_000_000);

        let rate = 5_000_000_000_u64.to_ne_bytes();
        assert_eq!(bytes[12..16], u32::MAX.to_ne_bytes());
        assert_eq!(bytes[44..52], rate);
    }

    #[test]
    fn bucket_of_others_is_not_ours() {
        let bucket = rate(1000).bucket();
        let others = [
            Bucket {
                burst: bucket.burst * 2,
                ..bucket
            },
            Bucket {
                queue: bucket.queue - 1,
                ..bucket
            },
            Bucket {
                rate: bucket.rate + 1,
                ..bucket
            },
        ];

        assert_eq!(from_kernel(told(bucket)), Some(rate(1000)));
        for other in others {
            assert_eq!(from_kernel(told(other)), None, "{other:?}");
        }
        let without_peak = told(bucket)[..40].to_vec();
        assert_eq!(from_kernel(without_peak), None);
    }

    proptest! {
        #[test]
        fn what_the_kernel_tells_of_our_bucket_is_its_rate(kbit in 1_u64..=1_000_000_000) {
            prop_assert_eq!(from_kernel(told(rate(kbit).bucket())), Some(rate(kbit)));
        }

        #[test]
        fn options_of_any_bytes_do_no_harm(bytes: Vec<u8>, cut in 0_usize..80) {
            from_kernel(bytes);
            let mut told = told(rate(1000).bucket());
            told.truncate(cut);
            from_kernel(told);
        }
    }
}
