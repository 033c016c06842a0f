//! The same work with channels alone.

use std::hint::black_box;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::batchers::{BATCH, BUFFER, Payload};

/// So many producers send so many operations, which are received up to a hundred at a time.
pub(crate) async fn enqueue(producers: usize, operations: usize) {
    let (sender, mut receiver) = mpsc::channel::<(Payload, u32)>(BUFFER);
    let consumer = tokio::spawn(async move {
        let (mut batch, mut cost) = (Vec::with_capacity(BATCH), 0_u64);
        while receiver.recv_many(&mut batch, BATCH).await > 0 {
            cost +=
                batch.drain(..).map(|(payload, cost)| u64::from(cost) + black_box(payload)[0]).sum::<u64>();
        }
        cost
    });
    let mut tasks = JoinSet::new();
    for _ in 0..producers {
        let sender = sender.clone();
        tasks.spawn(async move {
            for _ in 0..operations / producers {
                sender.send((Payload::default(), 1)).await.unwrap();
            }
        });
    }
    drop(sender);
    tasks.join_all().await;
    assert_eq!(consumer.await.unwrap() as usize, operations / producers * producers);
}

/// So many callers wait for a result of each of their operations.
pub(crate) async fn call(callers: usize, operations: usize) {
    let (sender, mut receiver) = mpsc::channel::<(Payload, oneshot::Sender<u64>)>(BUFFER);
    let server = tokio::spawn(async move {
        let mut batch = Vec::with_capacity(BATCH);
        while receiver.recv_many(&mut batch, BATCH).await > 0 {
            for (payload, reply) in batch.drain(..) {
                let _ = reply.send(black_box(payload)[0]);
            }
        }
    });
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let sender = sender.clone();
        tasks.spawn(async move {
            for _ in 0..operations / callers {
                let (reply, answer) = oneshot::channel();
                sender.send((Payload::default(), reply)).await.unwrap();
                answer.await.unwrap();
            }
        });
    }
    drop(sender);
    tasks.join_all().await;
    server.await.unwrap();
}
