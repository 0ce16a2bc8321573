// SPDX-License-Identifier: Apache-2.0
//
// Drops four bits without saying so: Verilator must refuse it.
module width (
    input  logic [7:0] data_i,
    output logic [3:0] data_o
);

  assign data_o = data_i;

endmodule
