//! Pages and their hashes.

use std::thread;

use crate::hash::{Domain, PageHash};

/// Bytes of a page, the guest's and the store's.
pub const PAGE_SIZE: usize = 4096;

/// A page's contents.
pub type Page = [u8; PAGE_SIZE];

/// The page that is never stored.
pub static ZERO_PAGE: Page = [0; PAGE_SIZE];

/// From this many pages on, a second thread helps. Starting one costs about what hashing 30 pages does
/// (50 us against 1.5 us a page), so below a few hundred pages it gains little.
pub const PARALLEL_FROM: usize = 512;

/// The hash of a page; [`PageHash::ZERO`] if all of it is zero.
#[must_use]
pub fn hash_page(page: &Page) -> PageHash {
    if page == &ZERO_PAGE { PageHash::ZERO } else { Domain::Page.hash(page) }
}

/// The hashes of many pages, in their order; on two threads if there are more than [`PARALLEL_FROM`].
#[must_use]
pub fn hash_pages(pages: &[&Page]) -> Vec<PageHash> {
    let hash_all = |pages: &[&Page]| pages.iter().map(|page| hash_page(page)).collect::<Vec<_>>();
    if pages.len() <= PARALLEL_FROM {
        return hash_all(pages);
    }
    let (left, right) = pages.split_at(pages.len() / 2);
    thread::scope(|scope| {
        let helper =
            thread::Builder::new().name("page-hash".to_owned()).spawn_scoped(scope, || hash_all(right));
        let mut hashes = hash_all(left);
        match helper.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(rest)) => hashes.extend(rest),
            // No thread to be had: one does it as well.
            Ok(Err(_)) | Err(_) => hashes.extend(hash_all(right)),
        }
        hashes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_of_zeros_has_the_zero_hash() {
        let mut page = [0; PAGE_SIZE];
        assert!(hash_page(&page).is_zero());
        for at in [0, 1, 2047, 4095] {
            page[at] = 1;
            assert_eq!(hash_page(&page).0, blake3::derive_key("SentientOS 2026 page v1", &page));
            page[at] = 0;
        }
    }

    #[test]
    fn many_pages_hash_as_each_one_does() {
        let pages: Vec<Page> = (0..1501u32)
            .map(|number| {
                let mut page = ZERO_PAGE;
                page[..4].copy_from_slice(&number.to_le_bytes());
                page
            })
            .collect();
        for count in [0, 1, PARALLEL_FROM, PARALLEL_FROM + 1, 1501] {
            let pages: Vec<&Page> = pages.iter().take(count).collect();
            let one_by_one: Vec<PageHash> = pages.iter().map(|page| hash_page(page)).collect();
            assert_eq!(hash_pages(&pages), one_by_one);
        }
    }
}
