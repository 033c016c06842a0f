/// One test for each clause: an expression that makes a fixture, and the attribute that makes a function a test.
#[macro_export]
macro_rules! streaming_contract {
    ($fixture:expr, #[$test:meta]) => {
        $crate::streaming_contract! { @each $fixture, #[$test],
            clause_01_publish_is_stored_and_receipts_are_right
            clause_02_publishes_of_one_task_are_stored_in_order
            clause_03_window_blocks_try_refuses_and_all_room_returns
            clause_04_start_positions
            clause_05_everything_published_survives
            clause_06_automatic_ack_only_after_ok
            clause_07_ack_stops_redelivery_and_none_brings_it_about
            clause_08_max_in_flight_holds
            clause_09_each_message_goes_to_one_member_and_on_when_it_fails
            clause_10_durable_resumes_and_out_of_order_acks_are_kept
            clause_11_durable_group_survives_its_last_member
            clause_12_close_keeps_and_unsubscribe_forgets
            clause_14_nak_with_delay_in_progress_and_term
            clause_16_drain_loses_nothing_and_redelivers_nothing
            clause_19_names_are_refused_before_sending
            clause_21_dropped_futures_leak_nothing
        }
    };
    (@each $fixture:expr, #[$test:meta], $($clause:ident)*) => {
        $(
            #[$test]
            async fn $clause() {
                $crate::contract::$clause(&$fixture).await;
            }
        )*
    };
}
