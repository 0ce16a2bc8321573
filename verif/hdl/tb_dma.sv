// SPDX-License-Identifier: Apache-2.0
// Load and store DMA with their AXI channels, as unzip connects them, for the dma testbench.
//
// Interface: the job streams, the memory side of both DMAs, the instruction fetch's request stream, the
// windows, halt and errors are ports; names as in the modules, with the client in front.
// rst_ni is the reset pin, engine_rst_ni the engine's reset, which a soft reset pulls when idle.

module tb_dma #(
    parameter int T_P = 8,
    parameter int G = 1,
    parameter int Q = 4,
    parameter int DW = 8,
    parameter int ACT_BANKS = 2,
    parameter int ACT_DEPTH = 512,
    parameter int ALPHA_DEPTH = 256,
    parameter int PARAM_DEPTH = 64,
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    parameter int BURST_LEN = 16,
    parameter int OUTSTANDING = 4,
    parameter int ACC_W = DW == 8 ? 32 : 48,
    parameter int PARAM_W = ACC_W + 16,
    parameter int BANK_W = $clog2(ACT_BANKS),
    parameter int ADDR_W = $clog2(ACT_DEPTH),
    parameter int BEATS_W = 9
) (
    input  logic clk_i,
    input  logic rst_ni,
    input  logic engine_rst_ni,
    input  logic halt_i,
    output logic read_idle_o,
    output logic write_idle_o,

    input logic [AXI_ADDR_W-1:0] read_first_i,
    input logic [AXI_ADDR_W-1:0] read_last_i,
    input logic [AXI_ADDR_W-1:0] write_first_i,
    input logic [AXI_ADDR_W-1:0] write_last_i,
    output logic [1:0] read_window_error_o,  // fetch, load
    output logic [63:0] read_window_offset_o,
    output logic write_window_error_o,
    output logic [31:0] write_window_offset_o,
    output logic [1:0] read_error_o,  // fetch, load
    output logic write_error_o,
    output logic [31:0] write_error_offset_o,

    // instruction fetch
    input  logic                  fetch_valid_i,
    output logic                  fetch_ready_o,
    input  logic [  AXI_ADDR_W:0] fetch_addr_i,
    input  logic [   BEATS_W-1:0] fetch_beats_i,
    input  logic [          31:0] fetch_offset_i,
    output logic                  fetch_beat_o,
    output logic [AXI_DATA_W-1:0] fetch_data_o,

    // load
    input  logic                load_valid_i,
    output logic                load_ready_o,
    input  logic [         1:0] load_memory_i,
    input  logic [AXI_ADDR_W:0] load_addr_i,
    input  logic [        31:0] load_offset_i,
    input  logic [        23:0] load_words_i,
    input  logic [        23:0] load_run_i,
    input  logic [        39:0] load_pitch_i,
    input  logic [        15:0] load_base_i,
    input  logic [        11:0] load_row_i,
    input  logic [        15:0] load_block_i,
    input  logic [         1:0] load_shift_i,
    input  logic [  BANK_W-1:0] load_bank_i,
    input  logic [        11:0] load_width_i,
    input  logic [        11:0] load_rows_i,
    output logic                load_done_o,
    output logic                load_busy_o,
    output logic                load_beat_o,
    output logic [        31:0] load_beat_offset_o,

    output logic                           act_valid_o,
    input  logic                           act_ready_i,
    output logic [             BANK_W-1:0] act_bank_o,
    output logic [             ADDR_W-1:0] act_addr_o,
    output logic [             T_P*DW-1:0] act_data_o,
    output logic                           alpha_we_o,
    output logic [$clog2(ALPHA_DEPTH)-1:0] alpha_addr_o,
    output logic [           G*T_P*DW-1:0] alpha_data_o,
    output logic                           param_we_o,
    output logic [$clog2(PARAM_DEPTH)-1:0] param_addr_o,
    output logic [          Q*PARAM_W-1:0] param_data_o,

    // store
    input  logic                store_valid_i,
    output logic                store_ready_o,
    input  logic [AXI_ADDR_W:0] store_addr_i,
    input  logic [        31:0] store_offset_i,
    input  logic [        23:0] store_words_i,
    input  logic [        23:0] store_run_i,
    input  logic [        39:0] store_pitch_i,
    input  logic [        15:0] store_base_i,
    input  logic [        11:0] store_row_i,
    input  logic [        15:0] store_block_i,
    input  logic [         1:0] store_shift_i,
    input  logic [  BANK_W-1:0] store_bank_i,
    input  logic [        11:0] store_width_i,
    input  logic [        11:0] store_rows_i,
    output logic                store_done_o,
    output logic                store_busy_o,

    output logic              read_valid_o,
    input  logic              read_ready_i,
    output logic [BANK_W-1:0] read_bank_o,
    output logic [ADDR_W-1:0] read_addr_o,
    input  logic [T_P*DW-1:0] read_data_i,

    output logic                    m_axi_arvalid,
    input  logic                    m_axi_arready,
    output logic                    m_axi_arid,
    output logic [  AXI_ADDR_W-1:0] m_axi_araddr,
    output logic [             7:0] m_axi_arlen,
    output logic [             2:0] m_axi_arsize,
    output logic [             1:0] m_axi_arburst,
    input  logic                    m_axi_rvalid,
    output logic                    m_axi_rready,
    input  logic                    m_axi_rid,
    input  logic [  AXI_DATA_W-1:0] m_axi_rdata,
    input  logic [             1:0] m_axi_rresp,
    input  logic                    m_axi_rlast,
    output logic                    m_axi_awvalid,
    input  logic                    m_axi_awready,
    output logic                    m_axi_awid,
    output logic [  AXI_ADDR_W-1:0] m_axi_awaddr,
    output logic [             7:0] m_axi_awlen,
    output logic [             2:0] m_axi_awsize,
    output logic [             1:0] m_axi_awburst,
    output logic                    m_axi_wvalid,
    input  logic                    m_axi_wready,
    output logic [  AXI_DATA_W-1:0] m_axi_wdata,
    output logic [AXI_DATA_W/8-1:0] m_axi_wstrb,
    output logic                    m_axi_wlast,
    input  logic                    m_axi_bvalid,
    output logic                    m_axi_bready,
    input  logic                    m_axi_bid,
    input  logic [             1:0] m_axi_bresp
);

  logic request_valid, request_ready, unused;
  logic [AXI_ADDR_W:0] request_addr;
  logic [BEATS_W-1:0] request_beats;
  logic [1:0] beat_valid;
  logic [AXI_DATA_W-1:0] beat_data;
  logic write_job_valid, write_job_ready, write_done, write_beat_valid, write_beat_ready;
  logic [AXI_ADDR_W:0] write_job_addr;
  logic [31:0] request_offset, write_job_bytes, write_job_offset;
  logic [23:0] write_job_words, write_job_run;
  logic [39:0] write_job_pitch;
  logic beat_last;
  logic [7:0] written;
  logic [AXI_DATA_W-1:0] write_beat_data;
  logic [AXI_DATA_W/8-1:0] write_beat_strobe;

  assign fetch_beat_o = beat_valid[0];
  assign fetch_data_o = beat_data;
  assign m_axi_awid = 1'b0;
  assign unused = m_axi_bid ^ (^written);
  assign load_beat_o = beat_valid[1];

  unzip_axi_read #(
      .AXI_DATA_W(AXI_DATA_W),
      .AXI_ADDR_W(AXI_ADDR_W)
  ) u_axi_read (
      .clk_i,
      .rst_ni,
      .halt_i,
      .idle_o(read_idle_o),
      .window_first_i(read_first_i),
      .window_last_i(read_last_i),
      .request_valid_i({request_valid, fetch_valid_i}),
      .request_ready_o({request_ready, fetch_ready_o}),
      .request_addr_i({request_addr, fetch_addr_i}),
      .request_beats_i({request_beats, fetch_beats_i}),
      .request_offset_i({request_offset, fetch_offset_i}),
      .window_error_o(read_window_error_o),
      .window_offset_o(read_window_offset_o),
      .beat_valid_o(beat_valid),
      .beat_data_o(beat_data),
      .beat_last_o(beat_last),
      .beat_error_o(read_error_o),
      .m_axi_arvalid,
      .m_axi_arready,
      .m_axi_arid,
      .m_axi_araddr,
      .m_axi_arlen,
      .m_axi_arsize,
      .m_axi_arburst,
      .m_axi_rvalid,
      .m_axi_rready,
      .m_axi_rid,
      .m_axi_rdata,
      .m_axi_rresp,
      .m_axi_rlast
  );

  unzip_load #(
      .T_P(T_P),
      .G(G),
      .Q(Q),
      .DW(DW),
      .ACT_BANKS(ACT_BANKS),
      .ACT_DEPTH(ACT_DEPTH),
      .ALPHA_DEPTH(ALPHA_DEPTH),
      .PARAM_DEPTH(PARAM_DEPTH),
      .AXI_DATA_W(AXI_DATA_W),
      .AXI_ADDR_W(AXI_ADDR_W),
      .BURST_LEN(BURST_LEN),
      .OUTSTANDING(OUTSTANDING)
  ) u_load (
      .clk_i,
      .rst_ni(engine_rst_ni),
      .job_valid_i(load_valid_i),
      .job_ready_o(load_ready_o),
      .job_memory_i(load_memory_i),
      .job_addr_i(load_addr_i),
      .job_offset_i(load_offset_i),
      .job_words_i(load_words_i),
      .job_run_i(load_run_i),
      .job_pitch_i(load_pitch_i),
      .job_dst_base_i(load_base_i),
      .job_dst_row_i(load_row_i),
      .job_dst_block_i(load_block_i),
      .job_dst_shift_i(load_shift_i),
      .job_dst_bank_i(load_bank_i),
      .job_width_i(load_width_i),
      .job_rows_i(load_rows_i),
      .done_o(load_done_o),
      .busy_o(load_busy_o),
      .request_valid_o(request_valid),
      .request_ready_i(request_ready),
      .request_addr_o(request_addr),
      .request_beats_o(request_beats),
      .request_offset_o(request_offset),
      .beat_valid_i(beat_valid[1]),
      .beat_last_i(beat_last),
      .beat_data_i(beat_data),
      .beat_offset_o(load_beat_offset_o),
      .act_valid_o,
      .act_ready_i,
      .act_bank_o,
      .act_addr_o,
      .act_data_o,
      .alpha_we_o,
      .alpha_addr_o,
      .alpha_data_o,
      .param_we_o,
      .param_addr_o,
      .param_data_o
  );

  unzip_store #(
      .T_P(T_P),
      .DW(DW),
      .ACT_BANKS(ACT_BANKS),
      .ACT_DEPTH(ACT_DEPTH),
      .AXI_DATA_W(AXI_DATA_W),
      .AXI_ADDR_W(AXI_ADDR_W)
  ) u_store (
      .clk_i,
      .rst_ni(engine_rst_ni),
      .job_valid_i(store_valid_i),
      .job_ready_o(store_ready_o),
      .job_addr_i(store_addr_i),
      .job_offset_i(store_offset_i),
      .job_words_i(store_words_i),
      .job_run_i(store_run_i),
      .job_pitch_i(store_pitch_i),
      .job_src_base_i(store_base_i),
      .job_src_row_i(store_row_i),
      .job_src_block_i(store_block_i),
      .job_src_shift_i(store_shift_i),
      .job_src_bank_i(store_bank_i),
      .job_width_i(store_width_i),
      .job_rows_i(store_rows_i),
      .done_o(store_done_o),
      .busy_o(store_busy_o),
      .read_valid_o,
      .read_ready_i,
      .read_bank_o,
      .read_addr_o,
      .read_data_i,
      .write_job_valid_o(write_job_valid),
      .write_job_ready_i(write_job_ready),
      .write_job_addr_o(write_job_addr),
      .write_job_bytes_o(write_job_bytes),
      .write_job_words_o(write_job_words),
      .write_job_run_o(write_job_run),
      .write_job_pitch_o(write_job_pitch),
      .write_job_offset_o(write_job_offset),
      .write_done_i(write_done),
      .beat_valid_o(write_beat_valid),
      .beat_ready_i(write_beat_ready),
      .beat_data_o(write_beat_data),
      .beat_strobe_o(write_beat_strobe)
  );

  unzip_axi_write #(
      .AXI_DATA_W(AXI_DATA_W),
      .AXI_ADDR_W(AXI_ADDR_W),
      .BURST_LEN (BURST_LEN)
  ) u_axi_write (
      .clk_i,
      .rst_ni(engine_rst_ni),
      .halt_i,
      .idle_o(write_idle_o),
      .window_first_i(write_first_i),
      .window_last_i(write_last_i),
      .window_error_o(write_window_error_o),
      .window_offset_o(write_window_offset_o),
      .response_error_o(write_error_o),
      .response_offset_o(write_error_offset_o),
      .job_valid_i(write_job_valid),
      .job_ready_o(write_job_ready),
      .job_addr_i(write_job_addr),
      .job_bytes_i(write_job_bytes),
      .job_words_i(write_job_words),
      .job_run_i(write_job_run),
      .job_pitch_i(write_job_pitch),
      .job_offset_i(write_job_offset),
      .done_o(write_done),
      .beat_valid_i(write_beat_valid),
      .beat_ready_o(write_beat_ready),
      .beat_data_i(write_beat_data),
      .beat_strobe_i(write_beat_strobe),
      .written_o(written),
      .m_axi_awvalid,
      .m_axi_awready,
      .m_axi_awaddr,
      .m_axi_awlen,
      .m_axi_awsize,
      .m_axi_awburst,
      .m_axi_wvalid,
      .m_axi_wready,
      .m_axi_wdata,
      .m_axi_wstrb,
      .m_axi_wlast,
      .m_axi_bvalid,
      .m_axi_bready,
      .m_axi_bresp
  );

endmodule
